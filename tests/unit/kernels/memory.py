"""Slot blocks, entry blocks and bitmaps in memory, at the addresses that kernels want."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES, Entries, EntryLayout
from streamlsh.kernels.scan import LIVE_SHIFT

I64 = NDArray[np.int64]


@dataclass
class Memory:
    """Arrays that stay where they are for as long as this lives."""

    held: list[NDArray[Any]] = field(default_factory=list)

    def keep(self, array: NDArray[Any]) -> int:
        """The address of a copy that stays."""
        size = array.nbytes
        room = np.zeros(size + 128, np.uint8)
        start = -room.ctypes.data % 64
        room[start : start + size] = np.frombuffer(array.tobytes(), np.uint8)
        self.held.append(room)
        return int(room.ctypes.data + start)

    def live_pages(self, live: NDArray[np.bool_], absent: set[int]) -> I64:
        """Addresses of the bitmap's pages; 0 for those that were never written."""
        size = 1 << LIVE_SHIFT
        padded = np.zeros(-(-len(live) // size) * size, np.bool_)
        padded[: len(live)] = live
        pages = np.packbits(padded.reshape(-1, size), axis=1, bitorder="little")
        return np.array(
            [0 if number in absent else self.keep(page) for number, page in enumerate(pages)],
            np.int64,
        )

    def segments(
        self, layout: EntryLayout, parts: list[Entries], blocks_per_chunk: int
    ) -> tuple[I64, I64]:
        """The tables of segments and of their chunks, as a view has them."""
        segments: list[list[int]] = []
        chunks: list[int] = []
        for part in parts:
            entries = part.take(np.lexsort((part.slots, part.buckets)))
            codes, starts = np.unique(entries.buckets, return_index=True)
            directory = np.concatenate([codes, starts, [len(entries)]]).astype(np.uint32)
            address = self.keep(directory)
            segments.append([len(codes), address, address + 4 * len(codes), len(chunks)])
            blocks = layout.pack(entries)
            chunks += [
                self.keep(blocks[start : start + blocks_per_chunk])
                for start in range(0, len(blocks), blocks_per_chunk)
            ]
        return (
            np.array(segments, np.int64).reshape(-1, 4),
            np.array(chunks, np.int64),
        )

    def tail(self, layout: EntryLayout, entries: Entries) -> I64:
        """Addresses of the tail's groups."""
        groups = []
        for start in range(0, len(entries), GROUP_ENTRIES):
            part = entries.take(slice(start, start + GROUP_ENTRIES))
            blocks = np.zeros(GROUP_ENTRIES // 8, layout.block)
            packed = layout.pack(part)
            blocks[: len(packed)] = packed
            buckets = np.full(GROUP_ENTRIES, 0xFFFF_FFFF, np.uint32)
            buckets[: len(part)] = part.buckets
            content = np.concatenate([blocks.view(np.uint8), buckets.view(np.uint8)])
            groups.append(self.keep(content))
        return np.array(groups, np.int64)
