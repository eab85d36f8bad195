"""Postings: for each tag, the slots of the items that carry it.

They are exactly what the records in ``extras`` say: an item that dies takes both along, since its
slot is given to another one day.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import lmdb
import numpy as np

from streamlsh.kernels.bitmaps import PAGE_WORDS, change_containers
from streamlsh.storage.environment import Environment
from streamlsh.storage.schema import LIVE_PAGE_SLOTS, number_key, tag_prefix
from streamlsh.updates import unpack_tags

_PAGE_BITS = LIVE_PAGE_SLOTS.bit_length() - 1
_SLOT_BITS = 32

Container = tuple[bytes, bytes]
"""Key and value of one page of a tag's postings; an empty value stands for none."""


class TagChanges:
    """Changes to postings: gathered slot by slot, carried out together."""

    def __init__(self) -> None:
        self._changes: dict[bytes, list[int]] = {}  # by tag: slot << 1 | whether it is added

    def replace(self, slot: int, before: bytes, after: bytes) -> None:
        """A slot's record had one packing of tags and attributes, and gets another.

        Args:
            slot: of the record.
            before: what ``pack_extras`` gave; empty if there was no record.
            after: the same for afterwards; empty if the record goes.
        """
        old, new = unpack_tags(before), unpack_tags(after)
        for tag in old:
            if tag not in new:
                self._changes.setdefault(tag, []).append(slot << 1)
        for tag in new:
            if tag not in old:
                self._changes.setdefault(tag, []).append(slot << 1 | 1)

    def write(
        self, transaction: lmdb.Transaction, snapshot: lmdb.Transaction, database: lmdb._Database
    ) -> None:
        """Store the changes: each page of each tag that they touch is read and written once.

        Args:
            transaction: the commit's write transaction.
            snapshot: a read transaction of the state before it.
            database: the ``tags`` database.
        """
        kept = []
        for key, value in self.containers(snapshot, database):
            if value:
                kept.append((key, value))
            else:
                transaction.delete(key, db=database)
        if kept:
            with transaction.cursor(database) as cursor:
                cursor.putmulti(kept)

    def containers(
        self, snapshot: lmdb.Transaction | None, database: lmdb._Database
    ) -> list[Container]:
        """What the changes come to, sorted by key.

        Args:
            snapshot: of the state before; ``None`` if nothing is stored yet.
            database: the ``tags`` database.
        """
        if not self._changes:
            return []
        tags = sorted(self._changes, key=tag_prefix)
        parts = [self._changes[tag] for tag in tags]
        numbers = np.repeat(np.arange(len(tags)), [len(part) for part in parts])
        codes = np.fromiter(chain.from_iterable(parts), np.int64, len(numbers))
        codes |= numbers << (_SLOT_BITS + 1)
        codes.sort()
        groups, firsts = np.unique(codes >> (_PAGE_BITS + 1), return_index=True)
        firsts = np.append(firsts, len(codes))
        prefixes = [tag_prefix(tag) for tag in tags]
        page_bits = _SLOT_BITS - _PAGE_BITS
        keys = [
            prefixes[group >> page_bits] + number_key(group & ((1 << page_bits) - 1))
            for group in groups.tolist()
        ]
        held: dict[bytes, bytes] = {}
        if snapshot is not None:
            with snapshot.cursor(database) as cursor:
                held = {bytes(key): bytes(value) for key, value in cursor.getmulti(keys)}
        stored = [held.get(key, b"") for key in keys]
        words = np.array([len(value) // 2 for value in stored])
        room = np.minimum(words + np.diff(firsts), PAGE_WORDS)
        places = np.append(0, np.cumsum(room))
        changed = np.empty(places[-1], np.uint16)
        lengths = np.empty(len(keys), np.int64)
        change_containers(
            np.frombuffer(b"".join(stored), np.uint16), np.append(0, np.cumsum(words)),
            (codes & ((1 << (_PAGE_BITS + 1)) - 1)).astype(np.uint16), firsts, places, changed,
            lengths,
        )  # fmt: skip
        content = changed.tobytes()
        ends = 2 * (places[:-1] + lengths)
        return [
            (key, content[start:end])
            for key, start, end in zip(keys, (2 * places[:-1]).tolist(), ends.tolist(), strict=True)
        ]


def postings(cursor: lmdb.Cursor, tag: bytes) -> list[tuple[int, memoryview]]:
    """The pages of a tag's postings and their containers, in place, by page.

    Args:
        cursor: of a read transaction, on the ``tags`` database.
        tag: the tag in UTF-8.
    """
    prefix = tag_prefix(tag)
    size = len(prefix)
    found = []
    if cursor.set_range(prefix):
        for key, value in cursor:
            name = bytes(key)
            if not name.startswith(prefix):
                break
            found.append((int.from_bytes(name[size:], "big"), memoryview(value)))
    return found


def record_postings(
    snapshot: lmdb.Transaction, environment: Environment
) -> Iterator[list[Container]]:
    """The postings that the slots' extras come to, page by page of slots."""
    changes, page = TagChanges(), 0
    database = environment.database("tags")
    with snapshot.cursor(environment.database("extras")) as cursor:
        for key, value in cursor:
            slot = int.from_bytes(key, "big")
            if slot // LIVE_PAGE_SLOTS != page:
                yield changes.containers(None, database)
                changes, page = TagChanges(), slot // LIVE_PAGE_SLOTS
            changes.replace(slot, b"", bytes(value))
    yield changes.containers(None, database)


def build_postings(
    environment: Environment, transaction: lmdb.Transaction, snapshot: lmdb.Transaction
) -> None:
    """Write the postings of an index that has none, holding one page's at a time.

    Args:
        environment: of the index, with an empty ``tags`` database.
        transaction: the write transaction.
        snapshot: a read transaction that sees the slots' extras; it need not see ``tags``.
    """
    database = environment.database("tags")
    for containers in record_postings(snapshot, environment):
        with transaction.cursor(database) as cursor:
            cursor.putmulti(containers)
