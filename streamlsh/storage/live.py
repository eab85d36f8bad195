"""The live bitmap: which slots hold the current vector of an item."""

from __future__ import annotations

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import LIVE_PAGE_SLOTS, PAD, in_place, number_key
from streamlsh.storage.values import address_of

_PAGE_BYTES = LIVE_PAGE_SLOTS // 8

Slots = NDArray[np.uint32]


class LiveBitmap:
    """The bitmap as one commit changes it: read from a snapshot, written copy-on-write.

    Args:
        snapshot: a read transaction of the state before the commit.
        database: the ``live`` database.
    """

    def __init__(self, snapshot: lmdb.Transaction, database: lmdb._Database) -> None:
        self._snapshot = snapshot
        self._database = database
        self._pages: dict[int, NDArray[np.uint8]] = {}
        self._changed: set[int] = set()

    def switch_on(self, slots: Slots) -> None:
        """Mark slots as current."""
        for page, inside in self._change(slots):
            np.bitwise_or.at(page, inside >> 3, _bit(inside))

    def switch_off(self, slots: Slots) -> None:
        """Mark slots as dead."""
        for page, inside in self._change(slots):
            np.bitwise_and.at(page, inside >> 3, ~_bit(inside))

    def test(self, slots: Slots) -> NDArray[np.bool_]:
        """(n,) whether each slot is current."""
        result = np.zeros(len(slots), np.bool_)
        numbers = slots // LIVE_PAGE_SLOTS
        for number in np.unique(numbers):
            chosen = numbers == number
            inside = slots[chosen] % LIVE_PAGE_SLOTS
            result[chosen] = self._page(int(number))[inside >> 3] & _bit(inside) != 0
        return result

    def counts(self, blocks: NDArray[np.intp], size: int) -> NDArray[np.intp]:
        """(n,) current slots of each block of ``size`` slots, a power of two within a page."""
        per_page = LIVE_PAGE_SLOTS // size
        result = np.zeros(len(blocks), np.intp)
        pages = blocks // per_page
        for page in np.unique(pages):
            bits = np.bitwise_count(self._page(int(page))).reshape(per_page, size // 8)
            chosen = pages == page
            result[chosen] = bits.sum(axis=1)[blocks[chosen] % per_page]
        return result

    def addresses(self) -> NDArray[np.int64]:
        """(pages,) where the pages are in memory, for kernels; valid as long as this object."""
        pages = max(self._pages, default=-1) + 1
        stored = self._snapshot.stat(self._database)["entries"]
        return np.array([address_of(self._page(p)) for p in range(max(pages, stored))], np.int64)

    def write(
        self, transaction: lmdb.Transaction, stamps: NDArray[np.uint64], commit: int
    ) -> NDArray[np.uint64]:
        """Store the changed pages; the stamps with theirs set to this commit."""
        if not self._changed:
            return stamps
        pages = max(len(stamps), max(self._changed) + 1)
        stamped = np.zeros(pages, np.uint64)
        stamped[: len(stamps)] = stamps
        for number in sorted(self._changed):
            value = in_place(self._pages[number].tobytes())
            transaction.put(number_key(number), value, db=self._database)
            stamped[number] = commit
        return stamped

    def _page(self, number: int) -> NDArray[np.uint8]:
        page = self._pages.get(number)
        if page is None:
            value = self._snapshot.get(number_key(number), db=self._database)
            page = np.zeros(_PAGE_BYTES, np.uint8)
            if value is not None:
                page[:] = np.frombuffer(value, np.uint8, _PAGE_BYTES, PAD)
            self._pages[number] = page
        return page

    def _change(self, slots: Slots) -> list[tuple[NDArray[np.uint8], NDArray[np.uint32]]]:
        numbers = slots // LIVE_PAGE_SLOTS
        pages = [int(number) for number in np.unique(numbers)]
        self._changed.update(pages)
        return [(self._page(p), slots[numbers == p] % LIVE_PAGE_SLOTS) for p in pages]


def _bit(inside: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The bit within its byte of each slot of a page."""
    return (1 << (inside & 7)).astype(np.uint8)
