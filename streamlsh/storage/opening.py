"""Creating an index, and opening one with every check that opening owes.

Format, configuration and family are written once, together with a SHA-256 of the latter two,
and verified at every open. Older formats are brought up to date by ``streamlsh.upgrading``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import Any

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from streamlsh.config import (
    IndexConfig,
    check_delete_retention,
    check_dim,
    check_metric,
    check_seed,
)
from streamlsh.errors import CorruptIndexError, FamilyDigestError
from streamlsh.families.base import Family
from streamlsh.families.registry import family_named
from streamlsh.storage.environment import (
    Environment,
    create_environment,
    open_environment,
    remove_unfinished,
)
from streamlsh.storage.failures import sound_records
from streamlsh.storage.rows import STRIP_SHIFT, RowLayout
from streamlsh.storage.schema import (
    CONFIG_KEY,
    DIGEST_KEY,
    FORMAT,
    FORMAT_KEY,
    FORMAT_VERSION,
    HELD_OUT_KEY,
    STATE_KEY,
)
from streamlsh.storage.state import State


@dataclass(frozen=True, slots=True)
class Index:
    """An open index: everything about it that never changes.

    Attributes:
        environment: the shared LMDB environment.
        config: the configuration it was created with.
        family: its frozen hash family.
        family_digest: SHA-256 of configuration and family.
        rows: layout of slot blocks.
    """

    environment: Environment
    config: IndexConfig
    family: Family
    family_digest: bytes
    rows: RowLayout


def create_index(
    path: str | os.PathLike[str],
    config: IndexConfig,
    family: Family,
    map_size: int,
    held_out: NDArray[np.float32] | None = None,
) -> None:
    """Write a new, empty index, and with it the rows that calibration may use as queries."""
    environment = create_environment(path, map_size)
    complete = False
    try:
        packed = _pack_config(config)
        arrays = {name: _pack_array(array) for name, array in family.arrays().items()}
        meta = environment.database("meta")
        with environment.write() as transaction:
            for name, value in arrays.items():
                transaction.put(name.encode(), value, db=environment.database("family"))
            transaction.put(CONFIG_KEY, packed, db=meta)
            transaction.put(DIGEST_KEY, _digest(packed, arrays), db=meta)
            transaction.put(STATE_KEY, State().pack(), db=meta)
            if held_out is not None:
                transaction.put(HELD_OUT_KEY, _pack_array(held_out), db=meta)
            transaction.put(FORMAT_KEY, FORMAT.pack(FORMAT_VERSION), db=meta)
        complete = True
    finally:
        environment.close()
        if not complete:
            remove_unfinished(environment.path)


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open an existing index.

    Raises:
        IndexNotFoundError: no index there.
        NewerFormatError: written by a later version.
        OlderFormatError: written by an earlier version.
        FamilyDigestError: configuration or family do not match their digest.
        CorruptIndexError: not an index, or a part of it is missing.
    """
    environment = open_environment(path)
    try:
        with environment.read() as transaction, sound_records(environment.path):
            return _load(transaction, environment)
    except BaseException:
        environment.close()
        raise


def _load(transaction: lmdb.Transaction, environment: Environment) -> Index:
    meta = environment.database("meta")
    packed = bytes(transaction.get(CONFIG_KEY, db=meta) or b"")
    expected = bytes(transaction.get(DIGEST_KEY, db=meta) or b"")
    with transaction.cursor(environment.database("family")) as cursor:
        arrays = {bytes(name).decode("utf-8", "replace"): bytes(value) for name, value in cursor}
    received = _digest(packed, arrays)
    if received != expected:
        raise FamilyDigestError(
            f"the configuration or hash family of {environment.path} is damaged or belongs to "
            "another index; restore the file from a copy or rebuild it",
            expected=expected.hex(), received=received.hex(),
        )  # fmt: skip
    try:
        config = _unpack_config(packed)
        family = family_named(config.family).restore(
            config.dim,
            config.metric,
            config.parameters,
            {name: unpack_array(value) for name, value in arrays.items()},
        )
        _check_family(family, config)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # The digest fits, so this is what was written: by something else than this library.
        raise CorruptIndexError(
            f"the configuration or hash family of {environment.path} cannot be used; restore the "
            "file from a copy or rebuild it",
            expected="what streamlsh writes", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    return Index(
        environment,
        config,
        family,
        expected,
        RowLayout.of(config.dim, config.block_shift),
    )


def read_held_out(index: Index, transaction: lmdb.Transaction) -> NDArray[np.float32] | None:
    """Rows of the sample that the family was not trained on, if any were kept."""
    value = transaction.get(HELD_OUT_KEY, db=index.environment.database("meta"))
    return None if value is None else unpack_array(bytes(value))


def _digest(config: bytes, arrays: dict[str, bytes]) -> bytes:
    """SHA-256 over the configuration and every array, each with its name and length."""
    digest = hashlib.sha256()
    for name, value in [("", config), *sorted(arrays.items())]:
        digest.update(msgpack.packb([name, len(value)]))
        digest.update(value)
    return digest.digest()


def _pack_config(config: IndexConfig) -> bytes:
    packed: bytes = msgpack.packb(asdict(config))
    return packed


def _unpack_config(packed: bytes) -> IndexConfig:
    """The configuration, or ``ValueError`` (or ``TypeError``) if it can be none."""
    config = IndexConfig(**msgpack.unpackb(packed))
    check_dim(config.dim)
    check_metric(config.metric)
    check_seed(config.seed)
    check_delete_retention(config.delete_retention)
    if type(config.block_shift) is not int or not 0 <= config.block_shift - STRIP_SHIFT <= 16:
        raise ValueError(f"blocks of 2^{config.block_shift} rows")
    return config


def _check_family(family: Family, config: IndexConfig) -> None:
    """Raise ``ValueError`` unless a restored family is the one that the configuration names."""
    described = (family.dim, family.metric, family.parameters())
    if described != (config.dim, config.metric, config.parameters):
        raise ValueError("arrays of another family")


def _pack_array(array: NDArray[Any]) -> bytes:
    header: bytes = msgpack.packb([array.dtype.str, list(array.shape)])
    return len(header).to_bytes(4, "little") + header + array.tobytes()


def unpack_array(value: bytes) -> NDArray[Any]:
    """An array from what it was stored as."""
    length = int.from_bytes(value[:4], "little")
    dtype, shape = msgpack.unpackb(value[4 : 4 + length])
    return np.frombuffer(value, np.dtype(dtype), offset=4 + length).reshape(shape)
