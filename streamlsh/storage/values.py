"""Reading values that an intact index must hold."""

from __future__ import annotations

import lmdb

from streamlsh.errors import CorruptIndexError


def fetch(transaction: lmdb.Transaction, database: lmdb._Database, key: bytes) -> memoryview:
    """The value of a key, in place.

    Raises:
        CorruptIndexError: the key is not there.
    """
    value = transaction.get(key, db=database)
    if value is None:
        raise CorruptIndexError(
            "a part of the index is missing; rebuild it from its source or a copy",
            expected=f"a value at key {key.hex()}",
            received="none",
        )
    return memoryview(value)
