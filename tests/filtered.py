"""Which items pass a filter, item by item: as an index says, and by looking at each item."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from streamlsh import Item, Reader, Snapshot
from streamlsh.filtering import filter_live, parse_filter
from streamlsh.storage.placing import RowReader
from streamlsh.storage.schema import LIVE_PAGE_SLOTS


def passing(source: Reader | Snapshot, tags: Any) -> list[str]:
    """The ids of the slots that an index's filtered bitmap holds, sorted."""
    if isinstance(source, Reader):
        with source.snapshot() as snapshot:
            return passing(snapshot, tags)
    view, wanted = source._view, parse_filter(tags)
    found = filter_live(source._index, source._transaction, view, wanted)
    assert found.pages.shape == view.slots.live.shape
    slots: list[int] = []
    for number, address in enumerate(found.pages.tolist()):
        if address:
            page = np.frombuffer(ctypes.string_at(address, LIVE_PAGE_SLOTS // 8), np.uint8)
            inside = np.flatnonzero(np.unpackbits(page, bitorder="little"))
            assert len(inside) or not wanted, "a page without slots has no address"
            slots += (inside + number * LIVE_PAGE_SLOTS).tolist()
    assert found.count == len(slots)
    index = source._index
    rows = RowReader(source._transaction, index.environment, index.rows, view.state.open_block)
    names = [rows.name(slot) for slot in slots]
    return sorted(name.decode() for name in names)


def carriers(items: Iterable[Item], tags: Any) -> list[str]:
    """The ids of items that have one tag of each element, sorted."""
    elements = [{element} if isinstance(element, str) else set(element) for element in tags]
    return sorted(
        item.id for item in items if all(element & set(item.tags) for element in elements)
    )
