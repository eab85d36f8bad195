"""Entries of buckets, in blocks of eight.

An entry stands for one item in one bucket: the item's slot and its sketch relative to the
bucket's centre. Eight entries form a block of 64 * words + 64 bytes, five cache lines at 256
bits: word k of all eight sketches side by side, then f, a and the slots of all eight. Every
family uses this one layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import PAD

LANES = 8
GROUP_ENTRIES = 256
"""Entries of one tail group."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Bucket entries as parallel arrays of one length.

    Attributes:
        buckets: (n,) uint32, the family's numbers of the buckets.
        bits: (n, words) uint64 sketches.
        f: (n,) float16.
        a: (n,) float16.
        slots: (n,) uint32.
    """

    buckets: NDArray[np.uint32]
    bits: NDArray[np.uint64]
    f: NDArray[np.float16]
    a: NDArray[np.float16]
    slots: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Entries:
        """The chosen entries."""
        return Entries(
            self.buckets[chosen], self.bits[chosen], self.f[chosen], self.a[chosen],
            self.slots[chosen],
        )  # fmt: skip

    @staticmethod
    def joined(parts: list[Entries]) -> Entries:
        """Several runs of entries as one."""
        return Entries(
            np.concatenate([part.buckets for part in parts]),
            np.concatenate([part.bits for part in parts]),
            np.concatenate([part.f for part in parts]),
            np.concatenate([part.a for part in parts]),
            np.concatenate([part.slots for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class EntryLayout:
    """How entries are packed, for one sketch length.

    Attributes:
        words: 64-bit words of a sketch.
    """

    words: int

    @property
    def block(self) -> np.dtype[np.void]:
        """The structured type of one entry block."""
        return np.dtype(
            [
                ("bits", "<u8", (self.words, LANES)),
                ("f", "<f2", LANES),
                ("a", "<f2", LANES),
                ("slots", "<u4", LANES),
            ]
        )

    def blocks_per_chunk(self, chunk_bytes: int) -> int:
        """Entry blocks in a value of at most ``chunk_bytes``."""
        return (chunk_bytes - PAD) // self.block.itemsize

    def pack(self, entries: Entries) -> NDArray[np.void]:
        """Entry blocks; the lanes past the last entry are zero."""
        count = len(entries)
        blocks = np.zeros((count + LANES - 1) // LANES, self.block)
        padded = len(blocks) * LANES

        def lanes(values: NDArray[np.generic]) -> NDArray[np.generic]:
            full = np.zeros((padded, *values.shape[1:]), values.dtype)
            full[:count] = values
            return full.reshape(len(blocks), LANES, *values.shape[1:])

        blocks["bits"] = lanes(entries.bits).transpose(0, 2, 1)
        blocks["f"] = lanes(entries.f)
        blocks["a"] = lanes(entries.a)
        blocks["slots"] = lanes(entries.slots)
        return blocks

    def unpack(self, blocks: NDArray[np.void], buckets: NDArray[np.uint32]) -> Entries:
        """The first ``len(buckets)`` entries of a run of blocks, copied."""
        count = len(buckets)
        bits = blocks["bits"].transpose(0, 2, 1).reshape(-1, self.words)
        return Entries(
            np.array(buckets),
            bits[:count],
            blocks["f"].reshape(-1)[:count],
            blocks["a"].reshape(-1)[:count],
            blocks["slots"].reshape(-1)[:count],
        )

    @property
    def group_bytes(self) -> int:
        """Size of a tail group's value: entry blocks, then the entries' buckets."""
        return PAD + GROUP_ENTRIES // LANES * self.block.itemsize + 4 * GROUP_ENTRIES

    def pack_group(self, entries: Entries) -> bytes:
        """One tail group of at most ``GROUP_ENTRIES`` entries."""
        value = np.zeros(self.group_bytes, np.uint8)
        blocks, buckets = self._group_parts(value)
        packed = self.pack(entries)
        blocks[: len(packed)] = packed
        buckets[: len(entries)] = entries.buckets
        return value.tobytes()

    def unpack_group(self, value: memoryview, count: int) -> Entries:
        """The first ``count`` entries of a stored tail group, copied."""
        blocks, buckets = self._group_parts(np.frombuffer(value, np.uint8))
        return self.unpack(blocks, buckets[:count])

    def _group_parts(self, value: NDArray[np.uint8]) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
        end = len(value) - 4 * GROUP_ENTRIES
        return value[PAD:end].view(self.block), value[end:].view(np.uint32)
