"""Appending to slots: full blocks for what fills them, strips for the rest.

Rows and names are both stored so, each in two databases of its own.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

import lmdb

from streamlsh.storage.environment import Environment
from streamlsh.storage.names import NameLayout, Names, name_at
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT, RowLayout, Rows
from streamlsh.storage.schema import number_key
from streamlsh.storage.values import fetch


class _Run(Protocol):
    """What a run of slots holds."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Self: ...


R = TypeVar("R", bound=_Run)


class _Layout(Protocol[R]):
    """How runs are stored."""

    @property
    def block_shift(self) -> int: ...

    def joined(self, parts: list[R]) -> R: ...

    def pack(self, run: R, capacity: int) -> Any: ...

    def view(self, value: memoryview, capacity: int, count: int) -> R: ...


def append_rows(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    environment: Environment,
    layout: RowLayout,
    slot_end: int,
    rows: Rows,
    names: Names,
) -> None:
    """Store rows and their names at the slots from ``slot_end`` on.

    A commit that leaves the open block open rewrites at most one strip beside the new ones. A
    commit that fills it merges its strips into full blocks and starts over.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        layout: of the index's slot blocks.
        slot_end: the first new slot.
        rows: the new rows.
        names: the ids of their items.
    """
    database = environment.database
    _append(transaction, snapshot, database("blocks"), database("strips"), layout, slot_end, rows)
    _append(
        transaction, snapshot, database("names"), database("name_strips"),
        NameLayout(layout.block_shift), slot_end, names,
    )  # fmt: skip


def delete_block(transaction: lmdb.Transaction, environment: Environment, block: int) -> None:
    """Remove a full block's rows and names."""
    for name in ("blocks", "names"):
        transaction.delete(number_key(block), db=environment.database(name))


def read_rows(
    snapshot: lmdb.Transaction,
    environment: Environment,
    layout: RowLayout,
    slot: int,
) -> tuple[Rows, int]:
    """The stored run of rows that holds a slot, in place, and the slot's place in it."""
    value, capacity, at = _find(snapshot, environment, ("blocks", "strips"), layout, slot)
    return layout.view(value, capacity, capacity), at


def read_name(
    snapshot: lmdb.Transaction, environment: Environment, layout: RowLayout, slot: int
) -> bytes:
    """The id of the item at a slot."""
    value, capacity, at = _find(snapshot, environment, ("names", "name_strips"), layout, slot)
    return name_at(value, capacity, at)


def read_block_names(
    snapshot: lmdb.Transaction, environment: Environment, layout: RowLayout, block: int
) -> list[bytes]:
    """The ids of the items at all slots of a full block."""
    value = fetch(snapshot, environment.database("names"), number_key(block))
    capacity = layout.rows_per_block
    return NameLayout(layout.block_shift).view(value, capacity, capacity).ids


def _find(
    snapshot: lmdb.Transaction,
    environment: Environment,
    names: tuple[str, str],
    layout: RowLayout,
    slot: int,
) -> tuple[memoryview, int, int]:
    """The stored block or strip that holds a slot, its capacity, and the slot's place in it."""
    block = slot >> layout.block_shift
    value = snapshot.get(number_key(block), db=environment.database(names[0]))
    if value is not None:
        capacity = layout.rows_per_block
        return memoryview(value), capacity, slot & (capacity - 1)
    strip = fetch(snapshot, environment.database(names[1]), number_key(slot >> STRIP_SHIFT))
    return strip, STRIP_ROWS, slot & (STRIP_ROWS - 1)


def _append(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    blocks: lmdb._Database,
    strips: lmdb._Database,
    layout: _Layout[R],
    slot_end: int,
    run: R,
) -> None:
    capacity = 1 << layout.block_shift
    opened = slot_end & (capacity - 1)
    first_strip = (slot_end - opened) >> STRIP_SHIFT
    filled = first_strip + (opened >> STRIP_SHIFT)
    if opened + len(run) < capacity:
        kept = opened & (STRIP_ROWS - 1)
        if kept:
            run = layout.joined([_read(snapshot, strips, layout, filled, kept), run])
        _write_strips(transaction, strips, layout, filled, run)
        return
    held = []
    for strip in range(first_strip, (slot_end + STRIP_ROWS - 1) >> STRIP_SHIFT):
        count = min(STRIP_ROWS, slot_end - (strip << STRIP_SHIFT))
        held.append(_read(snapshot, strips, layout, strip, count))
        transaction.delete(number_key(strip), db=strips)
    run = layout.joined([*held, run])
    block = slot_end >> layout.block_shift
    whole = len(run) // capacity
    for i in range(whole):
        part = run.part(i * capacity, (i + 1) * capacity)
        transaction.put(number_key(block + i), layout.pack(part, capacity), db=blocks)
    rest = run.part(whole * capacity, len(run))
    _write_strips(transaction, strips, layout, (block + whole) * capacity >> STRIP_SHIFT, rest)


def _write_strips(
    transaction: lmdb.Transaction,
    strips: lmdb._Database,
    layout: _Layout[R],
    first: int,
    run: R,
) -> None:
    for i, start in enumerate(range(0, len(run), STRIP_ROWS)):
        part = run.part(start, min(start + STRIP_ROWS, len(run)))
        transaction.put(number_key(first + i), layout.pack(part, STRIP_ROWS), db=strips)


def _read(
    snapshot: lmdb.Transaction,
    strips: lmdb._Database,
    layout: _Layout[R],
    strip: int,
    count: int,
) -> R:
    return layout.view(fetch(snapshot, strips, number_key(strip)), STRIP_ROWS, count)
