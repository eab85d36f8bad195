"""What one commit looks like to the kernels: tables of addresses into the memory map.

A value of LMDB that has pages of its own stays where it is until it is written anew, and segment
numbers are never used again. So after a commit only what was written since must be looked up (see
``storage.changes``); the rest of the tables is taken over from the view before.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.bounds import check_segment
from streamlsh.buckets.layout import (
    BLOCK,
    GROUP_BYTES,
    GROUP_ENTRIES,
    blocks_per_chunk,
    sort_groups,
)
from streamlsh.buckets.segment import part_addresses
from streamlsh.calibration import Calibration
from streamlsh.config import METRICS
from streamlsh.kernels import where as places
from streamlsh.planning import Asked, Search
from streamlsh.storage.changes import read_changes
from streamlsh.storage.opening import Index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.rows import STRIP_SHIFT
from streamlsh.storage.schema import number_key
from streamlsh.storage.slot_tables import SlotTables, slot_tables
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
        slots: where what stands at slots is.
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
    slots: SlotTables
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
        before.map_generation != environment.map_generation or before.state.writes > state.writes
    ):
        before = None
    changes = None
    if before is not None:
        changes = read_changes(
            transaction, environment.database("changes"), before.state.writes, state.writes
        )
    slots = slot_tables(index, transaction, state, before.slots if before else None, changes)
    for segment in state.segments:
        if before is None or segment.number not in before.parts:
            check_segment(
                transaction, environment.database("segments"), segment, index.family.buckets,
                layout.chunk_bytes,
            )  # fmt: skip
    parts = {
        segment.number: before.parts[segment.number]
        if before and segment.number in before.parts
        else np.array(
            part_addresses(
                transaction, environment.database("segments"), segment, layout.chunk_bytes
            ),
            np.int64,
        )
        for segment in state.segments
    }
    rows: list[tuple[int, int, int, int]] = []
    chunk = 0
    for segment in state.segments:
        directory = parts[segment.number][0]
        rows.append((segment.codes, directory, directory + 4 * segment.codes, chunk))
        chunk += segment.chunks
    chunks = np.concatenate([np.zeros(0, np.int64), *(part[1:] for part in parts.values())])
    tail: tuple[NDArray[Any], ...] = ()
    if state.tail_entries:
        tail = codes, starts, blocks = sort_groups(
            [
                fetch(transaction, environment.database("tail"), number_key(group), GROUP_BYTES)
                for group in range(-(-state.tail_entries // GROUP_ENTRIES))
            ],
            state.tail_entries,
        )
        rows.append((len(codes), address_of(codes), address_of(starts), len(chunks)))
        step = blocks_per_chunk(layout.chunk_bytes) * BLOCK.itemsize
        chunks = np.append(chunks, address_of(blocks) + np.arange(0, len(blocks), step))
    segments = np.array(rows, np.int64).reshape(-1, 4)
    where = np.zeros(places.SIZE, np.int64)
    for place, value in (
        (places.SEGMENTS, address_of(segments)), (places.SEGMENT_COUNT, len(segments)),
        (places.CHUNKS, address_of(chunks)), (places.CHUNK_COUNT, len(chunks)),
        (places.BLOCKS_PER_CHUNK, blocks_per_chunk(layout.chunk_bytes)),
        (places.BUCKETS, index.family.buckets),
        (places.BLOCKS, address_of(slots.blocks)), (places.BLOCK_COUNT, len(slots.blocks)),
        (places.NAMES, address_of(slots.names)),
        (places.NAME_STRIPS, address_of(slots.name_strips)),
        (places.STRIPS, address_of(slots.strips)), (places.OPEN_BLOCK, state.open_block),
        (places.BLOCK_SHIFT, layout.block_shift),
        (places.STRIP_SHIFT, STRIP_SHIFT), (places.CODE_WIDTH, layout.code_width),
        (places.DIM, layout.dim), (places.SLOT_END, state.slot_end),
        (places.METRIC, METRICS.index(index.config.metric)),
        (places.VALUES_END, slots.end),
    ):  # fmt: skip
        where[place] = value
    return View(
        transaction.id(),
        environment.map_generation,
        state,
        slots,
        where,
        (segments, chunks, *tail),
        read_calibration(transaction, environment.database("meta")),
        {},
        MappingProxyType(read_positions(transaction, environment)),
        parts,
    )
