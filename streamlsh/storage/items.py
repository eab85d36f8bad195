"""The records of ids: where an item is, or that it was deleted; when delete markers were made."""

from __future__ import annotations

import struct
from typing import NoReturn

import msgpack

from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import ITEM, MARKER, NO_SLOT
from streamlsh.storage.sealing import Buffer, check_seal, seal, unseal


def pack_item(key: bytes, slot: int, version: int) -> bytes:
    """The record of an item."""
    return seal(key, ITEM.pack(slot, version))


def pack_marker(key: bytes, version: int, commit: int) -> bytes:
    """The delete marker of an id, made by a commit."""
    return seal(key, MARKER.pack(NO_SLOT, version, commit))


def unpack_item(key: Buffer, value: Buffer) -> tuple[int, int]:
    """Slot and version of an item; of a delete marker ``NO_SLOT`` and its version.

    Raises:
        CorruptIndexError: the record is damaged.
    """
    try:
        check_seal(key, value)
        slot, version = ITEM.unpack_from(value)
    except (ValueError, struct.error) as error:
        _damaged(f"the record of id {bytes(key)!r}", error)
    return slot, version


def marker_commit(key: Buffer, value: Buffer) -> int | None:
    """The commit that made a delete marker; ``None`` for the record of an item.

    Raises:
        CorruptIndexError: the record is damaged.
    """
    try:
        record = unseal(key, value)
        return MARKER.unpack(record)[2] if len(record) == MARKER.size else None
    except ValueError as error:
        _damaged(f"the record of id {bytes(key)!r}", error)


def pack_expiry(key: bytes, made: float, ids: list[bytes]) -> bytes:
    """When a commit made delete markers, unix seconds, and of which ids."""
    return seal(key, msgpack.packb([made, ids]))


def unpack_expiry(key: Buffer, value: Buffer) -> tuple[float, list[bytes]]:
    """The reverse of ``pack_expiry``.

    Raises:
        CorruptIndexError: the record is damaged.
    """
    try:
        made, ids = msgpack.unpackb(unseal(key, value))
    except (ValueError, TypeError) as error:
        _damaged("a record of when delete markers were made", error)
    return made, ids


def _damaged(what: str, error: Exception) -> NoReturn:
    raise CorruptIndexError(
        f"{what} is damaged; restore the index from a copy or rebuild it",
        expected="a sound record", received=str(error),
    ) from error  # fmt: skip
