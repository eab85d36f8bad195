"""Slot blocks: everything kept for a slot beside its bucket entries, column by column.

A slot block of N rows holds, after ``PAD`` bytes:

    vectors       (N, dim)         float32   as they were given
    codes         (N, code_width)  uint8     4-bit copies of the unit vectors, two a byte
    step          (N,)             float32   value of one step of the row's codes
    inverse norm  (N,)             float32   1 / |vector|, 0 for a vector of zeros

Blocks hold ``rows_per_block`` rows. Those of the block that is being filled stand in *strips*,
slot blocks of ``STRIP_ROWS`` rows, so that a small commit rewrites little; when the block is
full, its strips are merged into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import IN_PLACE, PAD

STRIP_SHIFT = 5
STRIP_ROWS = 1 << STRIP_SHIFT
_BLOCK_BYTES = 1 << 18
"""A block is the largest power of two of rows that fits in so much, but no less than a strip and
no more than ``_BLOCK_ROWS``. LMDB needs a run of free pages for each: of 256 KiB there are plenty
in a file that is written all day, of 1 MiB the free list offers few."""
_BLOCK_ROWS = 1024

F32 = NDArray[np.float32]
Slots = NDArray[np.uint32]
Columns = tuple[F32, NDArray[np.uint8], F32, F32]


def default_block_shift(dim: int) -> int:
    """log2 of the rows of a block, for a new index; an index keeps what it was made with."""
    row = 4 * dim + _code_width(dim) + 8
    most = min(_BLOCK_BYTES // row, _BLOCK_ROWS)
    return max(STRIP_SHIFT, most.bit_length() - 1)


def _code_width(dim: int) -> int:
    return (dim + 31) // 32 * 16


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be stored, or read: parallel arrays of one length.

    Attributes:
        vectors: (n, dim) float32.
        codes: (n, code_width) uint8.
        step: (n,) float32.
        inverse_norm: (n,) float32.
    """

    vectors: F32
    codes: NDArray[np.uint8]
    step: F32
    inverse_norm: F32

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop``, sharing memory."""
        chosen = slice(start, stop)
        return Rows(
            self.vectors[chosen], self.codes[chosen], self.step[chosen],
            self.inverse_norm[chosen],
        )  # fmt: skip

    def take(self, chosen: list[int]) -> Rows:
        """The chosen rows, copied, in that order."""
        return Rows(
            self.vectors[chosen], self.codes[chosen], self.step[chosen],
            self.inverse_norm[chosen],
        )  # fmt: skip

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """Several runs of rows as one."""
        if len(parts) == 1:
            return parts[0]
        return Rows(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.inverse_norm for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Where the columns of a slot block stand, for one dimension.

    Attributes:
        dim: length of a vector.
        code_width: bytes of a row's 4-bit codes, a multiple of 16.
        block_shift: log2 of ``rows_per_block``.
    """

    dim: int
    code_width: int
    block_shift: int

    @staticmethod
    def of(dim: int, block_shift: int) -> RowLayout:
        """The layout for a dimension and a size of blocks."""
        return RowLayout(dim, _code_width(dim), block_shift)

    @property
    def rows_per_block(self) -> int:
        """Rows of a full block, a power of two."""
        return 1 << self.block_shift

    def value_bytes(self, rows: int) -> int:
        """Size of a slot block's value."""
        return max(PAD + rows * (4 * self.dim + self.code_width + 8), IN_PLACE)

    @property
    def chunk_bytes(self) -> int:
        """Size of the large values: one class for all of them lets LMDB reuse freed runs."""
        return self.value_bytes(self.rows_per_block)

    def pack(self, base: list[Rows | None], capacity: int, at: Slots, rows: Rows) -> memoryview:
        """A slot block of ``capacity`` rows: what it held, with some rows replaced.

        Args:
            base: runs of equal length that fill it; ``None`` for rows that are zero.
            capacity: its rows.
            at: (n,) the places of the new rows.
            rows: n new rows.
        """
        value = np.zeros(self.value_bytes(capacity), np.uint8)
        columns = self._columns(value, capacity)
        size = capacity // len(base)
        for start, run in zip(range(0, capacity, size), base, strict=True):
            if run is not None:
                _put(columns, slice(start, start + size), run)
        _put(columns, at, rows)
        return value.data

    def view(self, value: memoryview, capacity: int, count: int) -> Rows:
        """The first ``count`` rows of a stored block, in place."""
        columns = self._columns(np.frombuffer(value, np.uint8), capacity)
        return Rows(*columns).part(0, count)

    def _columns(self, value: NDArray[np.uint8], capacity: int) -> Columns:
        sizes = np.cumsum([PAD, *(capacity * n for n in (4 * self.dim, self.code_width, 4, 4))])
        parts = [value[start:stop] for start, stop in pairwise(sizes)]
        return (
            parts[0].view(np.float32).reshape(capacity, self.dim),
            parts[1].reshape(capacity, self.code_width),
            parts[2].view(np.float32),
            parts[3].view(np.float32),
        )


def _put(columns: Columns, at: Slots | slice, rows: Rows) -> None:
    """Set rows of a block's columns."""
    vectors, codes, step, inverse_norm = columns
    vectors[at] = rows.vectors
    codes[at] = rows.codes
    step[at] = rows.step
    inverse_norm[at] = rows.inverse_norm
