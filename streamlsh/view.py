"""What one commit looks like to the kernels: tables of addresses into the memory map.

A value of LMDB that has pages of its own stays where it is as long as it lives, and block and
segment numbers are never used again. So after a commit only what it wrote must be looked up;
the rest of the tables is taken over from the view before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES, blocks_per_chunk, sort_groups
from streamlsh.calibration import Calibration
from streamlsh.config import METRICS
from streamlsh.kernels import where as places
from streamlsh.planning import Asked, Search
from streamlsh.storage.opening import Index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT
from streamlsh.storage.schema import PAD, number_key, segment_key
from streamlsh.storage.state import State, read_calibration, read_state
from streamlsh.storage.values import address_of, fetch
from streamlsh.updates import Position

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """Addresses of everything that one commit holds; valid while a transaction sees it.

    Attributes:
        transaction_id: of the commit in LMDB.
        map_generation: of the environment; a remapped file makes all addresses void.
        state: the commit's state.
        blocks: addresses of the slot blocks, 0 where a block was emptied.
        names: addresses of the name blocks likewise.
        live: addresses of the live bitmap's pages, 0 where there is none.
        where: everything a kernel must know; see ``streamlsh.kernels.where``.
        tables: what ``where`` holds the addresses of, kept alive.
        calibration: what was measured of the index, if it was.
        searches: how to search, by what was asked for and how many items a filter lets pass.
        positions: the source positions that the commit reflects, by (stream, partition).
        parts: for each segment number the addresses of its parts, the directory first.
    """

    transaction_id: int
    map_generation: int
    state: State
    blocks: I64
    names: I64
    live: I64
    where: I64
    tables: tuple[NDArray[Any], ...]
    calibration: Calibration | None
    searches: dict[tuple[Asked, int], Search]
    positions: MappingProxyType[tuple[str, int], Position]
    parts: dict[int, I64]


def make_view(index: Index, transaction: lmdb.Transaction, before: View | None) -> View:
    """The view of the commit that a transaction sees.

    Args:
        index: the open index.
        transaction: a read transaction.
        before: a view of an earlier commit to take addresses from, if there is one.
    """
    environment, layout = index.environment, index.rows
    state = read_state(transaction, environment.database("meta"))
    if before is not None and (
        before.map_generation != environment.map_generation or before.state.commit > state.commit
    ):
        before = None

    def addresses(name: str, keys: Iterable[bytes]) -> I64:
        database = environment.database(name)
        return np.array([_address(fetch(transaction, database, key)) for key in keys], np.int64)

    blocks = state.slot_end >> layout.block_shift

    def block_addresses(name: str, known: I64) -> I64:
        """With those of blocks that are new; a new block may have been emptied already."""
        new = np.zeros(max(blocks - len(known), 0), np.int64)
        for i in range(len(new)):
            value = transaction.get(number_key(len(known) + i), db=environment.database(name))
            if value is not None:
                new[i] = _address(memoryview(value))
        return np.concatenate([known, new])

    nothing = np.zeros(0, np.int64)
    rows_at = block_addresses("blocks", before.blocks if before else nothing)
    names_at = block_addresses("names", before.names if before else nothing)
    first_strip = blocks << layout.block_shift >> STRIP_SHIFT
    strip_end = (state.slot_end + STRIP_ROWS - 1) >> STRIP_SHIFT
    live = np.zeros(len(state.live_stamps), np.int64)
    since = 0
    if before:
        live[: len(before.live)] = before.live
        since = before.state.commit
    changed = np.flatnonzero(state.live_stamps > since)
    live[changed] = addresses("live", map(number_key, changed.tolist()))
    groups = (state.tail_entries + GROUP_ENTRIES - 1) // GROUP_ENTRIES
    parts = {
        segment.number: before.parts[segment.number]
        if before and segment.number in before.parts
        else addresses(
            "segments", (segment_key(segment.number, part) for part in range(segment.chunks + 1))
        )
        for segment in state.segments
    }
    segments = np.zeros((len(state.segments), 4), np.int64)
    chunk = 0
    for row, segment in zip(segments, state.segments, strict=True):
        directory = parts[segment.number][0]
        row[:] = segment.codes, directory, directory + 4 * segment.codes, chunk
        chunk += segment.chunks
    strips = addresses("strips", map(number_key, range(first_strip, strip_end)))
    name_strips = addresses("name_strips", map(number_key, range(first_strip, strip_end)))
    tail_buckets, tail_places = sort_groups(
        [
            fetch(transaction, environment.database("tail"), number_key(group))
            for group in range(groups)
        ],
        state.tail_entries,
    )
    chunks = np.concatenate([nothing, *(part[1:] for part in parts.values())])
    where = np.zeros(places.SIZE, np.int64)
    for place, value in (
        (places.SEGMENTS, address_of(segments)), (places.SEGMENT_COUNT, len(segments)),
        (places.CHUNKS, address_of(chunks)), (places.CHUNK_COUNT, len(chunks)),
        (places.BLOCKS_PER_CHUNK, blocks_per_chunk(layout.chunk_bytes)),
        (places.TAIL_BUCKETS, address_of(tail_buckets)),
        (places.TAIL_ENTRIES, state.tail_entries),
        (places.TAIL_PLACES, address_of(tail_places)), (places.BUCKETS, index.family.buckets),
        (places.BLOCKS, address_of(rows_at)), (places.BLOCK_COUNT, len(rows_at)),
        (places.NAMES, address_of(names_at)), (places.NAME_STRIPS, address_of(name_strips)),
        (places.STRIPS, address_of(strips)), (places.STRIP_COUNT, len(strips)),
        (places.FIRST_STRIP, first_strip), (places.BLOCK_SHIFT, layout.block_shift),
        (places.STRIP_SHIFT, STRIP_SHIFT), (places.CODE_WIDTH, layout.code_width),
        (places.DIM, layout.dim), (places.SLOT_END, state.slot_end),
        (places.METRIC, METRICS.index(index.config.metric)),
    ):  # fmt: skip
        where[place] = value
    return View(
        transaction.id(),
        environment.map_generation,
        state,
        rows_at,
        names_at,
        live,
        where,
        (segments, chunks, tail_buckets, tail_places, strips, name_strips),
        read_calibration(transaction, environment.database("meta")),
        {},
        MappingProxyType(read_positions(transaction, environment)),
        parts,
    )


def _address(value: memoryview) -> int:
    """Where the content of a stored value is."""
    return address_of(value) + PAD
