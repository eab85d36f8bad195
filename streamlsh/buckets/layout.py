"""Entries of buckets, in blocks of eight.

An entry stands for one item in one bucket: the item's slot and its sketch relative to the
bucket's centre. Eight entries form a block of 320 bytes, five cache lines: word k of all eight
256-bit sketches side by side, then f, a and the slots of all eight. Every family uses this one
layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import CACHE_LINE
from streamlsh.kernels.merge import gather_entries
from streamlsh.storage.schema import PAD

LANES = 8
WORDS = 4
"""64-bit words of a sketch."""
GROUP_ENTRIES = 256
"""Entries of one tail group."""
BLOCK = np.dtype(
    [("bits", "<u8", (WORDS, LANES)), ("f", "<f2", LANES), ("a", "<f2", LANES),
     ("slots", "<u4", LANES)]
)  # fmt: skip
"""One entry block."""
GROUP_BYTES = PAD + GROUP_ENTRIES // LANES * BLOCK.itemsize + 4 * GROUP_ENTRIES
"""Size of a tail group's value: entry blocks, then the entries' buckets."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Bucket entries as parallel arrays of one length.

    Attributes:
        buckets: (n,) uint32, the family's numbers of the buckets.
        bits: (n, WORDS) uint64 sketches.
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
    def none() -> Entries:
        """A run without entries."""
        return Entries(
            np.zeros(0, np.uint32), np.zeros((0, WORDS), np.uint64), np.zeros(0, np.float16),
            np.zeros(0, np.float16), np.zeros(0, np.uint32),
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


def blocks_per_chunk(chunk_bytes: int) -> int:
    """Entry blocks in a value of at most ``chunk_bytes``."""
    return (chunk_bytes - PAD) // BLOCK.itemsize


def pack_entries(entries: Entries) -> NDArray[np.void]:
    """Entry blocks; the lanes past the last entry are zero."""
    count = len(entries)
    blocks = np.zeros((count + LANES - 1) // LANES, BLOCK)
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


def unpack_entries(blocks: NDArray[np.void], buckets: NDArray[np.uint32]) -> Entries:
    """The first ``len(buckets)`` entries of a run of blocks, copied."""
    count = len(buckets)
    bits = blocks["bits"].transpose(0, 2, 1).reshape(-1, WORDS)
    return Entries(
        np.array(buckets),
        bits[:count],
        blocks["f"].reshape(-1)[:count],
        blocks["a"].reshape(-1)[:count],
        blocks["slots"].reshape(-1)[:count],
    )


def pack_group(entries: Entries) -> NDArray[np.uint8]:
    """One tail group of at most ``GROUP_ENTRIES`` entries."""
    value = np.zeros(GROUP_BYTES, np.uint8)
    blocks, buckets = _group_parts(value)
    packed = pack_entries(entries)
    blocks[: len(packed)] = packed
    buckets[: len(entries)] = entries.buckets
    return value


def unpack_group(value: memoryview, count: int) -> Entries:
    """The first ``count`` entries of a stored tail group, copied."""
    blocks, buckets = _group_parts(np.frombuffer(value, np.uint8))
    return unpack_entries(blocks, buckets[:count])


def sort_groups(
    groups: list[memoryview], count: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint8]]:
    """The tail as queries want it: laid out like a segment, in memory.

    Args:
        groups: the stored values of all groups.
        count: entries in them, at least one.

    Returns:
        The sorted codes of the occupied buckets; where in the blocks each begins, closed by the
        number of entries; and the bytes of the entry blocks, which begin a cache line.
    """
    parts = [_group_parts(np.frombuffer(value, np.uint8)) for value in groups]
    buckets = np.concatenate([part[1] for part in parts])[:count]
    firsts = np.array([part[0].ctypes.data for part in parts], np.int64)
    entries = np.arange(GROUP_ENTRIES)
    inside = entries // LANES * BLOCK.itemsize + entries % LANES
    order = np.argsort(buckets)
    size = -(-count // LANES) * BLOCK.itemsize
    room = np.zeros(size + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    blocks = room[start : start + size]
    gather_entries((firsts[:, None] + inside).ravel()[order], blocks.ctypes.data)
    ordered = buckets[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])).astype(np.uint32)
    return ordered[starts], np.append(starts, np.uint32(count)), blocks


def _group_parts(value: NDArray[np.uint8]) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
    end = len(value) - 4 * GROUP_ENTRIES
    return value[PAD:end].view(BLOCK), value[end:].view(np.uint32)
