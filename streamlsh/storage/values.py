"""Reading values that an intact index must hold."""

from __future__ import annotations

from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import CorruptIndexError


def fetch(
    transaction: lmdb.Transaction, database: lmdb._Database, key: bytes, size: int = 0
) -> memoryview:
    """The value of a key, in place.

    Args:
        transaction: a read transaction.
        database: the database to look in.
        key: what to look for.
        size: bytes that the value must have.

    Raises:
        CorruptIndexError: the key is not there, or its value is shorter.
    """
    value = transaction.get(key, db=database)
    if value is None:
        raise CorruptIndexError(
            "a part of the index is missing; rebuild it from its source or a copy",
            expected=f"a value at key {key.hex()}",
            received="none",
        )
    return sized(value, size)


def sized(value: bytes | memoryview, size: int) -> memoryview:
    """A value that must have so many bytes: who reads it by its address does not look.

    Raises:
        CorruptIndexError: it is shorter.
    """
    if len(value) < size:
        raise CorruptIndexError(
            "a value of the index was cut short; restore the index from a copy or rebuild it",
            expected=f"{size} bytes", received=f"{len(value)} bytes",
        )  # fmt: skip
    return memoryview(value)


def address_of(value: memoryview | NDArray[Any]) -> int:
    """Where a buffer's content is."""
    array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    address: int = array.__array_interface__["data"][0]
    return address
