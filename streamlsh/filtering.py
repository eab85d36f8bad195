"""Tag filters: from what a caller asks for to a bitmap of the slots that may be answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.config import MAX_FILTER_ALTERNATIVES, MAX_FILTER_ELEMENTS, MAX_TAG_BYTES
from streamlsh.errors import TagsError
from streamlsh.kernels.bitmaps import PAGE_WORDS, unite_containers
from streamlsh.storage.opening import Index
from streamlsh.storage.tags import postings
from streamlsh.updates import check_tag
from streamlsh.view import View

U16 = NDArray[np.uint16]
I64 = NDArray[np.int64]

Tags = Iterable[str | Iterable[str]]
"""A filter as callers write it: ``["in-stock", ("red", "blue")]``."""


@dataclass(frozen=True, slots=True)
class TagFilter:
    """A checked filter; equal filters are equal and hash alike, in whatever order they came.

    Attributes:
        elements: an item must carry a tag of each; tags in UTF-8, everything sorted.
    """

    elements: tuple[tuple[bytes, ...], ...]

    def __bool__(self) -> bool:
        """Whether there is anything that an item could fail."""
        return bool(self.elements)


@dataclass(frozen=True, slots=True)
class FilteredLive:
    """The live slots that pass a filter, laid out as ``SlotTables.live``.

    Attributes:
        pages: for each page of the live bitmap the address of one like it, 0 where no slot
            passes.
        count: how many slots pass.
        bitmaps: (n, 1024) what the addresses point at; empty if it is the live bitmap itself.
    """

    pages: I64
    count: int
    bitmaps: U16


def parse_filter(tags: Tags) -> TagFilter:
    """Check a filter.

    Args:
        tags: elements that an item must all satisfy. An element is a tag, or a collection of
            alternative tags of which one suffices.

    Raises:
        TagsError: a string, which would be taken as a list of its letters; an element that is
            neither a tag nor a collection of tags; too many elements or alternatives; a tag
            that no item can have.
    """
    expected = (
        f"at most {MAX_FILTER_ELEMENTS} elements, each a tag or a list of 1 to "
        f"{MAX_FILTER_ALTERNATIVES} tags of 1 to {MAX_TAG_BYTES} bytes"
    )
    elements = set()
    for element in _some(tags, MAX_FILTER_ELEMENTS, "filter by tags", expected):
        alternatives: list[object] = [element]
        if not isinstance(element, str):
            alternatives = _some(element, MAX_FILTER_ALTERNATIVES, "element of a filter", expected)
            if not alternatives:
                raise TagsError(
                    "element of a filter has no tag", expected=expected, received=repr(element)[:40]
                )
        elements.add(tuple(sorted({check_tag(tag, expected).encode() for tag in alternatives})))
    return TagFilter(tuple(sorted(elements)))


def _some(values: object, most: int, what: str, expected: str) -> list[object]:
    """The values of an iterable that may be endless, if they are not too many."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TagsError(f"{what} is no list", expected=expected, received=type(values).__name__)
    found = list(islice(values, most + 1))
    if len(found) > most:
        raise TagsError(f"{what} is too long", expected=expected, received=f"more than {most}")
    return found


def filter_live(
    index: Index, transaction: lmdb.Transaction, view: View, wanted: TagFilter
) -> FilteredLive:
    """The live slots of a view that pass a filter.

    The result is a copy: it stays valid after the transaction, except that the empty filter's
    is the view's own.

    Args:
        index: the open index.
        transaction: a read transaction that sees the view's commit.
        view: of the commit.
        wanted: the filter.
    """
    if not wanted:
        return FilteredLive(view.slots.live, view.state.live, np.zeros((0, PAGE_WORDS), np.uint16))
    alive = set(np.flatnonzero(view.slots.live).tolist())
    rows: dict[int, int] = {}
    passing = np.zeros((0, PAGE_WORDS), np.uint16)
    with transaction.cursor(index.environment.database("tags")) as cursor:
        for place, element in enumerate(wanted.elements):
            found = [postings(cursor, tag) for tag in element]
            if place == 0:
                carrying = {page for containers in found for page, _ in containers}
                rows = {page: row for row, page in enumerate(sorted(carrying & alive))}
            bitmaps = np.zeros((len(rows), PAGE_WORDS), np.uint16)
            for containers in found:
                _unite(bitmaps, rows, containers)
            if place == 0:
                passing = bitmaps
            else:
                passing &= bitmaps
    numbers = np.fromiter(rows, np.int64, len(rows))
    counts = np.bitwise_count(passing.view(np.uint64)).sum(axis=1, dtype=np.int64)
    addresses = passing.ctypes.data + passing.strides[0] * np.arange(len(passing))
    pages = np.zeros(len(view.slots.live), np.int64)
    pages[numbers] = np.where(counts, addresses, 0)
    return FilteredLive(pages, int(counts.sum()), passing)


def _unite(bitmaps: U16, rows: dict[int, int], containers: list[tuple[int, memoryview]]) -> None:
    """Add one tag's containers to the bitmaps of those pages that have one."""
    chosen = [pair for pair in containers if pair[0] in rows]
    if chosen:
        where = np.array([(rows[page], len(container) // 2) for page, container in chosen])
        joined = b"".join([container for _, container in chosen])
        unite_containers(np.frombuffer(joined, np.uint16), where, bitmaps)
