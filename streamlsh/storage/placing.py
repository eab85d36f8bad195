"""Appending rows: full slot blocks for what fills them, strips for the rest."""

from __future__ import annotations

import lmdb

from streamlsh.storage.environment import Environment
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT, RowLayout, Rows
from streamlsh.storage.schema import number_key
from streamlsh.storage.values import fetch


def append_rows(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    environment: Environment,
    layout: RowLayout,
    slot_end: int,
    rows: Rows,
) -> None:
    """Store rows at the slots from ``slot_end`` on.

    A commit that leaves the open block open rewrites at most one strip beside the new ones. A
    commit that fills it merges its strips into full blocks and starts over.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        layout: of the index's slot blocks.
        slot_end: the first new slot.
        rows: the new rows.
    """
    blocks, strips = environment.database("blocks"), environment.database("strips")
    capacity = layout.rows_per_block
    opened = slot_end & (capacity - 1)
    first_strip = (slot_end - opened) >> STRIP_SHIFT
    filled = first_strip + (opened >> STRIP_SHIFT)
    if opened + len(rows) < capacity:
        kept = opened & (STRIP_ROWS - 1)
        if kept:
            rows = Rows.joined([_read(snapshot, strips, layout, filled, kept), rows])
        _write_strips(transaction, strips, layout, filled, rows)
        return
    held = []
    for strip in range(first_strip, (slot_end + STRIP_ROWS - 1) >> STRIP_SHIFT):
        count = min(STRIP_ROWS, slot_end - (strip << STRIP_SHIFT))
        held.append(_read(snapshot, strips, layout, strip, count))
        transaction.delete(number_key(strip), db=strips)
    rows = Rows.joined([*held, rows])
    block = slot_end >> layout.block_shift
    whole = len(rows) // capacity
    for i in range(whole):
        part = rows.part(i * capacity, (i + 1) * capacity)
        transaction.put(number_key(block + i), layout.pack(part, capacity), db=blocks)
    rest = rows.part(whole * capacity, len(rows))
    _write_strips(transaction, strips, layout, (block + whole) * capacity >> STRIP_SHIFT, rest)


def read_rows(
    snapshot: lmdb.Transaction,
    environment: Environment,
    layout: RowLayout,
    slot: int,
) -> tuple[Rows, int]:
    """The stored run of rows that holds a slot, in place, and the slot's place in it."""
    block = slot >> layout.block_shift
    value = snapshot.get(number_key(block), db=environment.database("blocks"))
    if value is not None:
        capacity = layout.rows_per_block
        return layout.view(memoryview(value), capacity, capacity), slot & (capacity - 1)
    strips = environment.database("strips")
    rows = _read(snapshot, strips, layout, slot >> STRIP_SHIFT, STRIP_ROWS)
    return rows, slot & (STRIP_ROWS - 1)


def _write_strips(
    transaction: lmdb.Transaction,
    strips: lmdb._Database,
    layout: RowLayout,
    first: int,
    rows: Rows,
) -> None:
    for i, start in enumerate(range(0, len(rows), STRIP_ROWS)):
        part = rows.part(start, min(start + STRIP_ROWS, len(rows)))
        transaction.put(number_key(first + i), layout.pack(part, STRIP_ROWS), db=strips)


def _read(
    snapshot: lmdb.Transaction,
    strips: lmdb._Database,
    layout: RowLayout,
    strip: int,
    count: int,
) -> Rows:
    return layout.view(fetch(snapshot, strips, number_key(strip)), STRIP_ROWS, count)
