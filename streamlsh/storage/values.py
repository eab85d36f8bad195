"""Reading values that an intact index must hold."""

from __future__ import annotations

from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

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


def address_of(value: memoryview | NDArray[Any]) -> int:
    """Where a buffer's content is."""
    array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    address: int = array.__array_interface__["data"][0]
    return address
