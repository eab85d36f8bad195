"""Slot blocks, names, entry blocks and bitmaps in memory, at the addresses that kernels want."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import (
    GROUP_ENTRIES,
    WORDS,
    Entries,
    pack_entries,
    pack_group,
)
from streamlsh.kernels import where as places
from streamlsh.kernels.encode import nibble_rows, normalize_rows
from streamlsh.kernels.scan import LIVE_SHIFT
from streamlsh.storage.names import pack_names
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT, RowLayout, Rows
from streamlsh.storage.schema import PAD

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
NOTHING: U32 = np.zeros(0, np.uint32)


def where_of(**values: int) -> I64:
    """The array that tells kernels where everything is, from its places by name."""
    where = np.zeros(places.SIZE, np.int64)
    for name, value in values.items():
        where[getattr(places, name.upper())] = value
    return where


@dataclass
class Memory:
    """Arrays that stay where they are for as long as this lives."""

    held: list[NDArray[Any]] = field(default_factory=list)

    def keep(self, array: NDArray[Any]) -> int:
        """The address of a copy that stays."""
        return self.keep_bytes(array.tobytes())

    def keep_bytes(self, content: bytes | memoryview) -> int:
        """The same of any bytes; they begin a cache line."""
        given = np.frombuffer(content, np.uint8)
        room = np.zeros(len(given) + 128, np.uint8)
        start = -room.ctypes.data % 64
        room[start : start + len(given)] = given
        self.held.append(room)
        return int(room.ctypes.data + start)

    def keep_value(self, value: bytes | memoryview) -> int:
        """The address of the content of a stored value: past its padding."""
        return self.keep_bytes(memoryview(value)[PAD:])

    def keep_whole(self, value: bytes | memoryview) -> memoryview:
        """A stored value that stays; its content begins a cache line, as in the file."""
        address = self.keep_bytes(bytes(64 - PAD) + bytes(value)) + 64 - PAD
        room = self.held[-1]
        start = address - room.ctypes.data
        return room[start : start + len(value)].data

    def live_pages(self, live: NDArray[np.bool_], absent: set[int] | None = None) -> I64:
        """Addresses of the bitmap's pages; 0 for those that were never written."""
        size = 1 << LIVE_SHIFT
        padded = np.zeros(-(-len(live) // size) * size, np.bool_)
        padded[: len(live)] = live
        pages = np.packbits(padded.reshape(-1, size), axis=1, bitorder="little")
        return np.array(
            [
                0 if absent and number in absent else self.keep(page)
                for number, page in enumerate(pages)
            ],
            np.int64,
        )

    def segments(self, parts: list[Entries], blocks_per_chunk: int) -> tuple[I64, I64]:
        """The tables of segments and of their chunks, as a view has them."""
        segments: list[list[int]] = []
        chunks: list[int] = []
        for part in parts:
            entries = part.take(np.lexsort((part.slots, part.buckets)))
            codes, starts = np.unique(entries.buckets, return_index=True)
            directory = np.concatenate([codes, starts, [len(entries)]]).astype(np.uint32)
            address = self.keep(directory)
            segments.append([len(codes), address, address + 4 * len(codes), len(chunks)])
            blocks = pack_entries(entries)
            chunks += [
                self.keep(blocks[start : start + blocks_per_chunk])
                for start in range(0, len(blocks), blocks_per_chunk)
            ]
        return np.array(segments, np.int64).reshape(-1, 4), np.array(chunks, np.int64)

    def groups(self, entries: Entries) -> list[memoryview]:
        """The tail's groups, as they are stored."""
        parts = [
            entries.take(slice(start, start + GROUP_ENTRIES))
            for start in range(0, len(entries), GROUP_ENTRIES)
        ]
        return [self.keep_whole(pack_group(part).data) for part in parts]

    def tables(
        self, segments: list[Entries], tail: Entries, blocks_per_chunk: int
    ) -> dict[str, int]:
        """What a ``where`` says of these segments and this tail."""
        parts = [*segments, tail] if len(tail) else segments
        table, chunks = self.segments(parts, blocks_per_chunk)
        return {
            "segments": self.keep(table),
            "segment_count": len(table),
            "chunks": self.keep(chunks),
            "chunk_count": len(chunks),
            "blocks_per_chunk": blocks_per_chunk,
        }


def random_ids(count: int, rng: np.random.Generator) -> list[bytes]:
    """Different ids of many lengths."""
    return [
        f"{'ü' * int(extra)}{row}".encode() for row, extra in enumerate(rng.integers(0, 9, count))
    ]


class Store:
    """Rows and their names in full blocks, some of them emptied, and in strips.

    Attributes:
        ids: of every slot.
        vectors, codes, step, inverse: the columns of every slot.
        live: which slots are; none of an emptied block.
        pages: the addresses of the live bitmap.
        rows: what a ``where`` says of all this.
    """

    def __init__(
        self, vectors: F32, block_shift: int = 6, emptied: tuple[int, ...] = (), seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.memory = Memory()
        self.vectors = vectors
        count, dim = vectors.shape
        self.layout = RowLayout.of(dim, block_shift)
        unit, self.inverse = np.empty_like(vectors), np.empty(count, np.float32)
        normalize_rows(vectors, unit, self.inverse)
        self.codes = np.empty((count, self.layout.code_width), np.uint8)
        self.step = np.empty(count, np.float32)
        nibble_rows(unit, self.codes, self.step)
        self.ids = random_ids(count, rng)
        rows = Rows(vectors, self.codes, self.step, self.inverse)
        room = self.layout.rows_per_block
        blocks = count >> block_shift

        def parts(first: int, step: int) -> Iterator[tuple[int, int]]:
            for start in range(first, count, step):
                stop = min(start + step, count)
                at = np.arange(stop - start, dtype=np.uint32)
                value = self.layout.pack([None], step, at, rows.part(start, stop))
                ids = self.ids[start:stop] + [b""] * (step - (stop - start))
                yield self.memory.keep_value(value), self.memory.keep_value(pack_names(ids))

        full = [
            (0, 0) if number in emptied else pair
            for number, pair in zip(range(blocks), parts(0, room), strict=False)
        ]
        strips = list(parts(blocks * room, STRIP_ROWS))
        # The open block's strips that were never given out have no address, nor has it itself.
        strips += [(0, 0)] * ((room >> STRIP_SHIFT) - len(strips))
        full.append((0, 0))
        block_table = np.array(full, np.int64).reshape(-1, 2)
        strip_table = np.array(strips, np.int64).reshape(-1, 2)
        self.live = np.asarray(rng.random(count) < 0.8)
        for number in emptied:
            self.live[number * room : (number + 1) * room] = False
        self.pages = self.memory.live_pages(self.live)
        self.rows = {
            "blocks": self.memory.keep(block_table[:, 0].copy()),
            "names": self.memory.keep(block_table[:, 1].copy()),
            "block_count": blocks + 1,
            "strips": self.memory.keep(strip_table[:, 0].copy()),
            "name_strips": self.memory.keep(strip_table[:, 1].copy()),
            "open_block": blocks,
            "block_shift": block_shift,
            "strip_shift": STRIP_SHIFT,
            "code_width": self.layout.code_width,
            "dim": dim,
            "slot_end": count,
            "values_end": 1 << 62,
        }

    def where(self, metric: int = places.COSINE, **more: int) -> I64:
        """The rows under a metric, and whatever else there is."""
        return where_of(metric=metric, **self.rows, **more)


def random_entries(slots: U32, buckets: int, rng: np.random.Generator, kinds: int = 0) -> Entries:
    """One entry a slot in a random bucket; with ``kinds``, of so many different sketches only."""
    count = len(slots)
    bits = rng.integers(0, 2**64, (kinds or count, WORDS), np.uint64)
    f, a = rng.standard_normal((2, kinds or count)).astype(np.float16)
    of = rng.integers(0, kinds, count) if kinds else np.arange(count)
    placed = rng.integers(0, buckets, count).astype(np.uint32)
    return Entries(placed, bits[of], f[of], a[of], slots)


def split(entries: Entries, rng: np.random.Generator, segments: int, tail: int) -> list[Entries]:
    """Entries in any order, in so many segments, none of them empty, and last of all a tail."""
    order = rng.permutation(len(entries))
    rest = len(entries) - tail if segments else 0
    inner = np.sort(rng.choice(np.arange(1, max(rest, 1)), max(segments - 1, 0), replace=False))
    bounds = [*([0] if segments else []), *inner.tolist(), rest, len(entries)]
    return [entries.take(order[start:stop]) for start, stop in pairwise(bounds)]
