"""Bitmaps of slots: which are current, free, dying or seen by a sweep."""

from __future__ import annotations

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import LIVE_PAGE_SLOTS, PAD, in_place, number_key
from streamlsh.storage.values import address_of, sized

PAGE_BYTES = LIVE_PAGE_SLOTS // 8

Slots = NDArray[np.uint32]
Page = NDArray[np.uint8]


class Bitmap:
    """A bitmap as one transaction changes it: read from a snapshot, written copy-on-write.

    Args:
        snapshot: a read transaction of the state before.
        database: ``live``, ``free``, ``dying`` or ``seen``.
    """

    def __init__(self, snapshot: lmdb.Transaction, database: lmdb._Database) -> None:
        self._snapshot = snapshot
        self._database = database
        self._pages: dict[int, Page] = {}
        self._changed: set[int] = set()

    def switch_on(self, slots: Slots) -> None:
        """Switch bits on."""
        for page, inside in self._change(slots):
            np.bitwise_or.at(page, inside >> 3, _bit(inside))

    def switch_off(self, slots: Slots) -> None:
        """Switch bits off."""
        for page, inside in self._change(slots):
            np.bitwise_and.at(page, inside >> 3, ~_bit(inside))

    def test(self, slots: Slots) -> NDArray[np.bool_]:
        """(n,) whether each slot's bit is on."""
        result = np.zeros(len(slots), np.bool_)
        numbers = slots // LIVE_PAGE_SLOTS
        for number in np.unique(numbers):
            chosen = numbers == number
            inside = slots[chosen] % LIVE_PAGE_SLOTS
            result[chosen] = self.page(int(number))[inside >> 3] & _bit(inside) != 0
        return result

    def counts(self, blocks: NDArray[np.intp], size: int) -> NDArray[np.intp]:
        """(n,) bits on in each block of ``size`` slots, a power of two within a page."""
        per_page = LIVE_PAGE_SLOTS // size
        result = np.zeros(len(blocks), np.intp)
        pages = blocks // per_page
        for page in np.unique(pages):
            bits = np.bitwise_count(self.page(int(page))).reshape(per_page, size // 8)
            chosen = pages == page
            result[chosen] = bits.sum(axis=1)[blocks[chosen] % per_page]
        return result

    def slots(self, first: int, size: int) -> Slots:
        """Those of ``size`` slots from ``first`` on, all of one page, whose bits are on."""
        start = first % LIVE_PAGE_SLOTS // 8
        bits = self.page(first // LIVE_PAGE_SLOTS)[start : start + size // 8]
        on = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        return (on + first).astype(np.uint32)

    def addresses(self) -> NDArray[np.int64]:
        """(pages,) where the pages are in memory, for kernels; valid as long as this object."""
        pages = max(self._pages, default=-1) + 1
        stored = self._snapshot.stat(self._database)["entries"]
        return np.array([address_of(self.page(p)) for p in range(max(pages, stored))], np.int64)

    def page(self, number: int) -> Page:
        """(``PAGE_BYTES``,) one page, not to be changed; zeros if it was never written."""
        page = self._pages.get(number)
        if page is None:
            value = self._snapshot.get(number_key(number), db=self._database)
            page = np.zeros(PAGE_BYTES, np.uint8)
            if value is not None:
                page[:] = np.frombuffer(sized(value, PAD + PAGE_BYTES), np.uint8, PAGE_BYTES, PAD)
            self._pages[number] = page
        return page

    def replace(self, number: int, page: Page) -> None:
        """Make a page what another is."""
        held = self.page(number)
        if not np.array_equal(held, page):
            held[:] = page
            self._changed.add(number)

    def clear(self, slot_end: int) -> None:
        """Switch all bits below ``slot_end`` off."""
        nothing = np.zeros(PAGE_BYTES, np.uint8)
        for number in range(-(-slot_end // LIVE_PAGE_SLOTS)):
            self.replace(number, nothing)

    def write(self, transaction: lmdb.Transaction) -> list[int]:
        """Store the pages that changed; their numbers."""
        numbers = sorted(self._changed)
        for number in numbers:
            value = in_place(self._pages[number].tobytes())
            transaction.put(number_key(number), value, db=self._database)
        return numbers

    def _change(self, slots: Slots) -> list[tuple[Page, Slots]]:
        numbers = slots // LIVE_PAGE_SLOTS
        pages = [int(number) for number in np.unique(numbers)]
        self._changed.update(pages)
        return [(self.page(p), slots[numbers == p] % LIVE_PAGE_SLOTS) for p in pages]


def _bit(inside: Slots) -> Page:
    """The bit within its byte of each slot of a page."""
    return (1 << (inside & 7)).astype(np.uint8)
