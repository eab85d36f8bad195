"""What one commit looks like to the kernels: tables of addresses into the memory map.

A value of LMDB that has pages of its own stays where it is as long as it lives, and block and
segment numbers are never used again. So after a commit only what it wrote must be looked up;
the rest of the tables is taken over from the view before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES
from streamlsh.storage.opening import Index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT
from streamlsh.storage.schema import PAD, number_key, segment_key
from streamlsh.storage.state import State, read_state
from streamlsh.storage.values import fetch
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
        strips: addresses of the open block's strips.
        first_strip: number of the first of them.
        live: addresses of the live bitmap's pages, 0 where there is none.
        tail: addresses of the tail's groups.
        segments: (s, 4) of (occupied buckets, address of their codes, of their starts, first
            chunk).
        chunks: addresses of all segments' chunks.
        positions: the source positions that the commit reflects, by (stream, partition).
        parts: for each segment number the addresses of its parts, the directory first.
    """

    transaction_id: int
    map_generation: int
    state: State
    blocks: I64
    strips: I64
    first_strip: int
    live: I64
    tail: I64
    segments: I64
    chunks: I64
    positions: Mapping[tuple[str, int], Position]
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
    known = before.blocks if before else np.zeros(0, np.int64)
    new_blocks = np.zeros(max(blocks - len(known), 0), np.int64)
    for i in range(len(new_blocks)):  # a block may have been emptied already
        value = transaction.get(number_key(len(known) + i), db=environment.database("blocks"))
        if value is not None:
            new_blocks[i] = _address(memoryview(value))
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
    return View(
        transaction.id(),
        environment.map_generation,
        state,
        np.concatenate([known, new_blocks]),
        addresses("strips", map(number_key, range(first_strip, strip_end))),
        first_strip,
        live,
        addresses("tail", map(number_key, range(groups))),
        segments,
        np.concatenate([np.zeros(0, np.int64), *(part[1:] for part in parts.values())]),
        MappingProxyType(read_positions(transaction, environment)),
        parts,
    )


def _address(value: memoryview) -> int:
    """Where the content of a stored value is."""
    address: int = np.frombuffer(value, np.uint8).__array_interface__["data"][0]
    return address + PAD
