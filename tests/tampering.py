"""Changing an index file behind the library's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from streamlsh.storage.schema import DATABASES
from streamlsh.storage.soundness import stamp


@contextmanager
def tampering(path: Path, database: str) -> Iterator[lmdb.Transaction]:
    """A write transaction whose calls go to one database; nothing else may have the index open."""
    with lmdb.open(str(path), max_dbs=len(DATABASES), map_size=0) as environment:
        handle = environment.open_db(database.encode(), create=False)
        with environment.begin(db=handle, write=True) as transaction:
            yield transaction
            stamp(transaction, environment.open_db(b"meta", txn=transaction, create=False))


def flip(path: Path, database: str, key: bytes, place: int, bit: int = 0) -> None:
    """Flip one bit of a value."""
    with tampering(path, database) as transaction:
        stored = transaction.get(key)
        assert stored is not None, f"nothing at {key!r} of {database}"
        value = bytearray(stored)
        value[place] ^= 1 << bit
        transaction.put(key, bytes(value))


def keys(path: Path, database: str) -> list[bytes]:
    """All keys of a database."""
    with tampering(path, database) as transaction:
        return [bytes(key) for key in transaction.cursor().iternext(values=False)]
