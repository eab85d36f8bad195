"""Whether a file may be used at all: its pages, the stamp of its last commit, its format.

What is read here is read without LMDB's code for trees, which would take the process down where
it meets damage; see ``storage.pages``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from streamlsh.errors import CorruptIndexError, NewerFormatError, OlderFormatError
from streamlsh.storage.pages import PAGE_BYTES, Meta, Pages, Tree
from streamlsh.storage.schema import (
    DATA,
    FORMAT,
    FORMAT_KEY,
    FORMAT_VERSION,
    STAMP,
    STAMP_KEY,
    STAMPED_SINCE,
)
from streamlsh.storage.walking import Walk

BY_ITEM = frozenset(("items", "expiry", "extras", "tags"))
"""Databases that grow with the number of items, where the others grow with the large values. They
are walked when they are first used: opening takes as long for many items as for few."""
_LOOSE_PAGES = 16
"""Pages that a sound file may lack at its end: LMDB never writes the last ones of a commit if it
has freed them again."""
COPIED = 1
"""Number of the only transaction of a compacting copy."""
_ATTEMPTS = 200
_PAUSE = 0.001
"""A writer may replace a meta page while it is read: seconds until it is read again."""


def check_metas(directory: Path) -> None:
    """Check both meta pages, and that the file is not shorter than they say.

    LMDB must not be asked to open a file before: it takes sizes from these pages.

    Raises:
        CorruptIndexError: naming what is wrong.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _metas(Pages(directory / DATA))
        except CorruptIndexError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE)
        else:
            return


def check_opening(directory: Path, handle: lmdb.Environment) -> None:
    """Check what every reader depends on: the free list and all trees but those of ``BY_ITEM``.

    If the file lacks pages at its end, all trees are walked. A file with pages of another size
    than ours is left to who refuses it for that.

    Raises:
        CorruptIndexError: naming what is wrong.
    """
    if handle.stat()["psize"] != PAGE_BYTES:
        return
    with pinned_pages(directory, handle) as (pages, newest, before):
        whole = pages.count > newest.last_page
        _walk(pages, newest, BY_ITEM if whole else frozenset(), deep=not whole)
        if before.transaction == newest.transaction - 1 and before.transaction:
            _check_stamp(pages, before, Walk(pages, before, deep=False).databases())


def check_database(directory: Path, handle: lmdb.Environment, name: str) -> None:
    """Check the tree of one database: what a reader owes to those of ``BY_ITEM``.

    Raises:
        CorruptIndexError: naming what is wrong.
    """
    with pinned_pages(directory, handle) as (pages, newest, _):
        walk = Walk(pages, newest, deep=False)
        tree = walk.databases().get(name)
        if tree:
            walk.tree(tree)


def check_pages(directory: Path, handle: lmdb.Environment) -> None:
    """Check every page that the newest commit has in use: what a writer and ``verify`` owe.

    Raises:
        CorruptIndexError: naming what is wrong.
    """
    with pinned_pages(directory, handle) as (pages, newest, _):
        _walk(pages, newest, frozenset(), deep=True)


def _walk(pages: Pages, meta: Meta, but: frozenset[str], *, deep: bool) -> None:
    """Check a commit's stamp, its free list, and the trees of all databases but some."""
    walk = Walk(pages, meta, deep=deep)
    databases = walk.databases()
    _check_stamp(pages, meta, databases)
    for name, tree in databases.items():
        if name not in but:
            walk.tree(tree)
    walk.free_list()
    walk.finish()


def _metas(pages: Pages) -> tuple[Meta, Meta]:
    """Both meta pages, each checked, and against each other."""
    first, second = pages.meta(0), pages.meta(1)
    pages.require(
        first.page_bytes == second.page_bytes, "the meta pages give sizes of pages", "the same",
        f"{first.page_bytes} and {second.page_bytes}",
    )  # fmt: skip
    apart = abs(first.transaction - second.transaction)
    pages.require(
        apart == 1 or first.transaction == second.transaction == 0,
        "the meta pages are of transactions", "two that follow each other",
        f"{first.transaction} and {second.transaction}",
    )  # fmt: skip
    if first.page_bytes == PAGE_BYTES:
        newest = max(first, second, key=lambda meta: meta.transaction)
        pages.require(
            pages.count > newest.last_page - _LOOSE_PAGES, "it was cut short",
            f"{newest.last_page + 1} pages", f"{pages.count} pages",
        )  # fmt: skip
    return first, second


@contextmanager
def pinned_pages(directory: Path, handle: lmdb.Environment) -> Iterator[tuple[Pages, Meta, Meta]]:
    """The file, the meta page of the newest commit, which is pinned, and the other one."""
    for attempt in range(_ATTEMPTS):
        with handle.begin() as transaction:
            number = transaction.id()
            pages = Pages(directory / DATA)
            try:
                metas = _metas(pages)
                newest = metas[number % 2]
                pages.require(
                    newest.transaction == number, "meta page of the newest transaction", number,
                    newest.transaction,
                )  # fmt: skip
            except CorruptIndexError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                yield pages, newest, metas[1 - number % 2]
                return
        time.sleep(_PAUSE)


def _check_stamp(pages: Pages, meta: Meta, databases: dict[str, Tree]) -> None:
    """Check that the pages of a commit are those that its meta page was written for.

    A compacting copy (``mdb_copy -c``) counts its transactions from 1 again and keeps the stamp of
    the original; it is written at once, not page by page over an older state.
    """
    if meta.transaction == COPIED:
        return
    if "meta" not in databases:
        return  # an environment without an index; or one that is only being created
    values = {
        key: leaf.value(place)
        for leaf in Walk(pages, meta, deep=False).leaves(databases["meta"])
        for place, key in enumerate(leaf.keys)
        if key in {STAMP_KEY, FORMAT_KEY}
    }
    expected = STAMP.pack(meta.transaction)
    written = values.get(FORMAT_KEY, b"")
    stamped = len(written) != FORMAT.size or FORMAT.unpack(written)[0] >= STAMPED_SINCE
    received = values.get(STAMP_KEY, b"" if stamped else expected)
    pages.require(
        received == expected, "the stamp of its last commit, which may have been written in part",
        expected.hex(), received.hex() or "none",
    )  # fmt: skip


def stamp(transaction: lmdb.Transaction, meta: lmdb._Database) -> None:
    """Mark what a write transaction writes as its own: the last thing that it does."""
    transaction.put(STAMP_KEY, STAMP.pack(transaction.id()), db=meta)


def check_format(directory: Path, handle: lmdb.Environment) -> None:
    """Raise unless an index has the current format; its databases depend on that."""
    with handle.begin() as transaction:
        meta = handle.open_db(b"meta", txn=transaction, create=False)
        stored = transaction.get(FORMAT_KEY, db=meta)
    if stored is None or len(stored) != FORMAT.size:
        raise CorruptIndexError(
            f"{directory} is not a complete streamlsh index", expected="a format version",
            received="none",
        )  # fmt: skip
    (version,) = FORMAT.unpack(stored)
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{directory} was written by a later version of streamlsh; update streamlsh to read it",
            expected=f"format {FORMAT_VERSION}", received=f"format {version}",
        )  # fmt: skip
    if version < FORMAT_VERSION:
        raise OlderFormatError(
            f"{directory} was written by an earlier version of streamlsh; make a copy in the "
            f"current format: streamlsh upgrade {directory} NEW",
            expected=f"format {FORMAT_VERSION}", received=f"format {version}",
        )  # fmt: skip
