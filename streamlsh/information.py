"""What ``info`` says of an index."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.buckets.segment import read_directory
from streamlsh.buckets.tail import read_tail
from streamlsh.calibration import Calibration
from streamlsh.content import content_digest
from streamlsh.families.base import Family
from streamlsh.planning import Request, plan_search
from streamlsh.readers import ReaderInfo, list_readers, oldest_snapshot
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.opening import Index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.schema import FORMAT_VERSION, LIVE_PAGE_SLOTS
from streamlsh.storage.state import State, read_calibration, read_state
from streamlsh.tuning.occupancy import counted

FULLEST = 3
"""The fullest buckets of a table that are named."""
RECALLS = (0.9, 0.95, 0.98, 0.99)
"""Recalls of which is said how they would be reached."""
NEIGHBOURS = 10
"""For so many neighbours."""


def describe(index: Index, transaction: lmdb.Transaction) -> dict[str, Any]:
    """Configuration, counts and sizes of the commit that a transaction sees, ready for JSON."""
    environment, config, family = index.environment, index.config, index.family
    state = read_state(transaction, environment.database("meta"))
    used, reserved = environment.map_used()
    capacity = index.rows.rows_per_block
    readers = list_readers(environment)
    oldest = oldest_snapshot(_others(readers, transaction.id()))
    calibration = read_calibration(transaction, environment.database("meta"))
    return {
        "path": str(environment.path),
        "format": FORMAT_VERSION,
        "dim": config.dim,
        "metric": config.metric,
        "family": {
            "name": family.name,
            "seed": config.seed,
            "tables": family.tables,
            "buckets": family.buckets,
            "assignments": family.assignments,
            "sketch_bits": 64 * WORDS,
            "parameters": config.parameters,
            "digest": index.family_digest.hex(),
        },
        "delete_retention_seconds": config.delete_retention,
        "items": state.live,
        "content_digest": content_digest(index.family_digest, state.live, state.content),
        "commit": state.commit,
        "writer_epoch": state.epoch,
        "rows": {
            "slots": state.slot_end,
            "free": _free_slots(index, transaction, state),
            "dying": state.dying,
            "per_block": capacity,
        },
        "tail_entries": state.tail_entries,
        "merges": [
            {"segments": len(merge.sources), "entries": merge.entries, "purge": merge.purge}
            for merge in state.merges
        ],
        "segments": [
            {"number": s.number, "entries": s.entries, "occupied_buckets": s.codes}
            for s in state.segments
        ],
        "occupancy": _occupancy(index, transaction, state),
        "calibration": None if calibration is None else _calibration(calibration, state.live),
        "plans": [_plan(family, state.live, recall, calibration) for recall in RECALLS],
        "positions": [
            {
                "stream": p.stream,
                "partition": p.partition,
                "offset": p.offset,
                "identity": p.identity,
                "epoch": p.epoch,
            }
            for _, p in sorted(read_positions(transaction, environment).items())
        ],
        "bytes": {
            "file": used,
            "map": reserved,
            "raw_vectors": 4 * config.dim * state.live,
        },
        "readers": [asdict(reader) for reader in readers],
        "oldest_snapshot": None if oldest is None else asdict(oldest),
    }


def _free_slots(index: Index, transaction: lmdb.Transaction, state: State) -> int:
    """How many slots may be given out."""
    free = Bitmap(transaction, index.environment.database("free"))
    pages = np.arange(-(-state.slot_end // LIVE_PAGE_SLOTS))
    return int(free.counts(pages, LIVE_PAGE_SLOTS).sum())


def _others(readers: list[ReaderInfo], transaction: int) -> list[ReaderInfo]:
    """The readers without the one that looks: one of this process's that pin its transaction."""
    others = list(readers)
    for place, reader in enumerate(others):
        if (reader.pid, reader.transaction) == (os.getpid(), transaction):
            del others[place]
            break
    return others


def _occupancy(index: Index, transaction: lmdb.Transaction, state: State) -> dict[str, Any]:
    """How full the buckets are, table by table.

    From the segments' directories and the tail, so entries of dead slots count until a merge
    leaves them behind.
    """
    family = index.family
    codes, sizes = _bucket_sizes(index, transaction, state)
    outside = 0
    if family.overflow is not None:
        outside = int(sizes[codes == family.overflow].sum())
        codes, sizes = codes[codes != family.overflow], sizes[codes != family.overflow]
    each = (family.buckets - (family.overflow is not None)) // family.tables
    ends = np.searchsorted(codes, each * np.arange(family.tables + 1, dtype=np.int64))
    return {
        "overflow_entries": None if family.overflow is None else outside,
        "tables": [
            _table(table, each, codes[first:end], sizes[first:end])
            for table, (first, end) in enumerate(pairwise(ends))
        ],
    }


def _bucket_sizes(
    index: Index, transaction: lmdb.Transaction, state: State
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sorted numbers of all occupied buckets, and how many entries each holds."""
    environment = index.environment
    tail = read_tail(transaction, environment.database("tail"), state.tail_entries)
    codes = [group.buckets for group in tail]
    sizes: list[NDArray[np.int64]] = [np.ones(len(group), np.int64) for group in tail]
    for segment in state.segments:
        occupied, starts = read_directory(transaction, environment.database("segments"), segment)
        codes.append(occupied)
        sizes.append(starts[1:].astype(np.int64) - starts[:-1])
    if not codes:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    numbers, entries = np.concatenate(codes), np.concatenate(sizes)
    order = np.argsort(numbers, kind="stable")  # quick on runs that are sorted already
    numbers, entries = numbers[order], entries[order]
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] ^ np.uint32(1)))
    return numbers[first].astype(np.int64), np.add.reduceat(entries, first)


def _table(
    table: int, buckets: int, codes: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[str, Any]:
    """One table's buckets; of those equally full the one with the lower number comes first."""
    held = counted(sizes, buckets)
    entries = int(sizes.sum())
    fullest = np.argsort(-sizes, kind="stable")[:FULLEST]  # codes are sorted
    return {
        "table": table,
        "entries": entries,
        **asdict(held),
        "largest_share": held.largest / entries if entries else 0.0,
        "fullest": [{"bucket": int(codes[i]), "entries": int(sizes[i])} for i in fullest],
    }


def _calibration(calibration: Calibration, live: int) -> dict[str, Any]:
    """What was measured, with what it costs now that there are ``live`` items."""
    return {
        "items": calibration.items,
        "queries": calibration.queries,
        "source": calibration.source,
        "settings": [
            {
                "k": k,
                "probes": setting.probes,
                "reach": setting.reach if math.isfinite(setting.reach) else None,
                "rerank": setting.rerank,
                "recall": setting.recall,
                "candidates": setting.entries,
                "microseconds": calibration.cost(setting, live),
            }
            for k, group in sorted(calibration.settings.items())
            for setting in group
        ],
    }


def _plan(
    family: Family, live: int, recall: float, calibration: Calibration | None
) -> dict[str, Any]:
    """What the planner does now for a recall."""
    plan = plan_search(family, live, live, Request(NEIGHBOURS, recall), calibration)
    return {
        "recall": recall,
        "route": plan.route,
        "probes": plan.probes if plan.route == "tables" else None,
        "rerank": plan.rerank,
        "promised": plan.recall,
        "reason": plan.reason,
    }
