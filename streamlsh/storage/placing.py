"""Storing rows and names at slots, and reading them.

What stands at a slot is in its block, or, for slots of the open block that were given lately, in
a strip. Both rows and names are stored so, each in two databases of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import CorruptIndexError
from streamlsh.storage.environment import Environment
from streamlsh.storage.names import least_bytes, name_at, pack_names, unpack_names
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT, RowLayout, Rows
from streamlsh.storage.schema import PAD, number_key
from streamlsh.storage.values import address_of, sized

U32 = NDArray[np.uint32]
Databases = tuple[str, str]
"""Where blocks are, and where strips are."""
Stored = tuple[memoryview, int, int]

ROWS: Databases = ("blocks", "strips")
NAMES: Databases = ("names", "name_strips")


@dataclass(frozen=True, slots=True)
class Run:
    """What a block or strip holds.

    Attributes:
        rows: runs of rows in place, which fill it together; ``None`` for what was never written.
        names: the ids, as many as it has slots.
    """

    rows: list[Rows | None]
    names: list[bytes]


class RowReader:
    """Rows and names of the commit that a transaction sees.

    Args:
        snapshot: a read transaction.
        environment: of the index.
        layout: of its slot blocks.
        open_block: the state's.
    """

    def __init__(
        self,
        snapshot: lmdb.Transaction,
        environment: Environment,
        layout: RowLayout,
        open_block: int,
    ) -> None:
        self._snapshot = snapshot
        self._environment = environment
        self._layout = layout
        self._open = open_block
        # What was looked up already: neighbours are asked for one by one.
        self._values: dict[tuple[str, int], memoryview | None] = {}

    def vector(self, slot: int) -> NDArray[np.float32]:
        """The (dim,) vector at a slot, in place."""
        value, _, at = self._find(ROWS, slot)
        dim = self._layout.dim
        return np.frombuffer(value, np.float32, dim, PAD + 4 * dim * at)

    def addresses(self, slots: U32) -> NDArray[np.int64]:
        """Where the vectors at slots are in memory, as long as the transaction lasts: (n,)."""
        shift = np.where(
            slots >> self._layout.block_shift == self._open, STRIP_SHIFT, self._layout.block_shift
        )
        starts, of = np.unique(slots >> shift << shift, return_inverse=True)
        size = 4 * self._layout.dim
        found = np.zeros(len(starts), np.int64)
        for place, start in enumerate(starts.tolist()):
            value, _, at = self._find(ROWS, start)
            found[place] = address_of(value) + PAD + size * at
        addresses: NDArray[np.int64] = found[of] + size * (slots - starts[of]).astype(np.int64)
        return addresses

    def row(self, slot: int) -> Rows:
        """The row at a slot, in place, as a run of one."""
        value, capacity, at = self._find(ROWS, slot)
        return self._layout.view(value, capacity, capacity).part(at, at + 1)

    def name(self, slot: int) -> bytes:
        """The id of the item at a slot."""
        value, capacity, at = self._find(NAMES, slot)
        return name_at(value, capacity, at)

    def runs(self, slot_end: int) -> Iterator[tuple[int, Rows]]:
        """All rows, in place, in runs: (first slot, rows).

        Args:
            slot_end: the state's.
        """
        layout, capacity = self._layout, self._layout.rows_per_block
        for first in range(0, slot_end, capacity):
            size = STRIP_ROWS if first >> layout.block_shift == self._open else capacity
            for start in range(first, first + capacity, size):
                found = self.stored(ROWS, start)
                if found is not None:
                    value, held, at = found
                    yield start, layout.view(value, held, held).part(at, at + size)

    def whole(self, block: int) -> Run:
        """What a block holds, strip by strip if it is the open one."""
        capacity = self._layout.rows_per_block
        size = STRIP_ROWS if block == self._open else capacity
        first = block * capacity
        parts = [self._run(start, size) for start in range(first, first + capacity, size)]
        return Run(
            [rows for part in parts for rows in part.rows],
            [name for part in parts for name in part.names],
        )

    def strip(self, strip: int) -> Run:
        """What a strip of slots holds, wherever it stands."""
        return self._run(strip << STRIP_SHIFT, STRIP_ROWS)

    def _run(self, start: int, size: int) -> Run:
        found, named = self.stored(ROWS, start), self.stored(NAMES, start)
        if found is None or named is None:
            return Run([None], [b""] * size)
        value, held, at = found
        names = unpack_names(named[0], named[1])
        return Run(
            [self._layout.view(value, held, held).part(at, at + size)], names[at : at + size]
        )

    def stored(self, databases: Databases, slot: int) -> Stored | None:
        """The stored block or strip that holds a slot, its capacity, and the slot's place in it.

        Args:
            databases: ``ROWS`` or ``NAMES``.
            slot: any below the end.

        Returns:
            ``None`` if it is a slot of the open block that was never given out.
        """
        shift = self._layout.block_shift
        block = slot >> shift
        if block == self._open:
            strip = self._get(databases[1], slot >> STRIP_SHIFT, STRIP_ROWS)
            if strip is not None:
                return strip, STRIP_ROWS, slot & (STRIP_ROWS - 1)
        value = self._get(databases[0], block, 1 << shift)
        if value is not None:
            return value, 1 << shift, slot & ((1 << shift) - 1)
        return None

    def _find(self, databases: Databases, slot: int) -> Stored:
        found = self.stored(databases, slot)
        if found is None:
            raise CorruptIndexError(
                "a part of the index is missing; rebuild it from its source or a copy",
                expected=f"{databases[0]} of slot {slot}", received="none",
            )  # fmt: skip
        return found

    def _get(self, database: str, number: int, capacity: int) -> memoryview | None:
        key = database, number
        if key in self._values:
            return self._values[key]
        value = self._snapshot.get(number_key(number), db=self._environment.database(database))
        if value is not None:
            size = self._layout.value_bytes(capacity) if database in ROWS else least_bytes(capacity)
            value = sized(value, size)
        self._values[key] = value
        return value


def store_rows(
    transaction: lmdb.Transaction,
    environment: Environment,
    before: RowReader,
    layout: RowLayout,
    open_block: int,
    slots: U32,
    rows: Rows,
    names: list[bytes],
) -> list[int]:
    """Store rows and the ids of their items at slots.

    Rows in the open block are put into strips. A block that is full is written as a whole, with
    what its strips hold if it has been the open one.

    Args:
        transaction: the write transaction.
        environment: of the index.
        before: what stands there so far.
        layout: of slot blocks.
        open_block: the block that stays open, if any.
        slots: (n,) block by block, as ``give_slots`` gives them.
        rows: n rows.
        names: n ids.

    Returns:
        The blocks that were written.
    """
    shift = layout.block_shift
    blocks = slots >> shift
    firsts = np.flatnonzero(np.diff(blocks, prepend=-1, append=-1)).tolist()
    written = []
    for start, stop in pairwise(firsts):
        block = int(blocks[start])
        written.append(block)
        inside = slots[start:stop] & np.uint32((1 << shift) - 1)
        if block != open_block:
            base = before.whole(block)
            _store(
                transaction, environment, layout, block, False, base, inside,
                rows.part(start, stop), names[start:stop],
            )  # fmt: skip
            for strip in range(block << shift >> STRIP_SHIFT, (block + 1) << shift >> STRIP_SHIFT):
                for database in (ROWS[1], NAMES[1]):
                    transaction.delete(number_key(strip), db=environment.database(database))
            continue
        strips = inside >> STRIP_SHIFT
        edges = (start + np.flatnonzero(np.diff(strips, prepend=-1, append=-1))).tolist()
        for first, end in pairwise(edges):
            strip = int(slots[first] >> STRIP_SHIFT)
            base = before.strip(strip)
            _store(
                transaction, environment, layout, strip, True, base,
                slots[first:end] & np.uint32(STRIP_ROWS - 1), rows.part(first, end),
                names[first:end],
            )  # fmt: skip
    return written


def _store(
    transaction: lmdb.Transaction,
    environment: Environment,
    layout: RowLayout,
    number: int,
    is_strip: bool,
    base: Run,
    at: U32,
    rows: Rows,
    names: list[bytes],
) -> None:
    """Write one block or strip: what it was, with some rows and names replaced."""
    capacity = STRIP_ROWS if is_strip else layout.rows_per_block
    value = layout.pack(base.rows, capacity, at, rows)
    transaction.put(number_key(number), value, db=environment.database(ROWS[is_strip]))
    ids = base.names
    for place, name in zip(at.tolist(), names, strict=True):
        ids[place] = name
    transaction.put(number_key(number), pack_names(ids), db=environment.database(NAMES[is_strip]))
