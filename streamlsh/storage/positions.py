"""Source positions: how far the index reflects each partition of each source."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import lmdb
import msgpack

from streamlsh.errors import CorruptIndexError
from streamlsh.storage.environment import Environment
from streamlsh.storage.schema import parse_position_key, position_key
from streamlsh.storage.sealing import seal, unseal
from streamlsh.updates import Position, check_position


def read_positions(
    transaction: lmdb.Transaction, environment: Environment
) -> dict[tuple[str, int], Position]:
    """All positions of the commit that a transaction sees, by (stream, partition).

    Raises:
        CorruptIndexError: one of them cannot be read.
    """
    positions = {}
    with transaction.cursor(environment.database("positions")) as cursor:
        for key, value in cursor:
            position = _unpack(bytes(key), bytes(value))
            positions[position.stream, position.partition] = position
    return positions


def _unpack(key: bytes, value: bytes) -> Position:
    try:
        stream, partition = parse_position_key(key)
        offset, identity, *epoch = msgpack.unpackb(unseal(key, value))
        position = Position(stream, partition, offset, identity, *epoch)
        check_position(position)
    # PositionError is a ValueError.
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise CorruptIndexError(
            "a source position of the index cannot be read; restore the index from a copy or "
            "rebuild it",
            expected="a sound record", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    return position


def write_positions(
    transaction: lmdb.Transaction, environment: Environment, positions: list[Position]
) -> None:
    """Store positions over those of the same stream and partition."""
    for position in positions:
        key = position_key(position.stream, position.partition)
        epoch = [] if position.epoch is None else [position.epoch]
        record = msgpack.packb([position.offset, position.identity, *epoch])
        transaction.put(key, seal(key, record), db=environment.database("positions"))


def remove_positions(
    transaction: lmdb.Transaction, environment: Environment, keys: Iterable[tuple[str, int]]
) -> None:
    """Remove the positions of these streams and partitions."""
    for stream, partition in keys:
        transaction.delete(position_key(stream, partition), db=environment.database("positions"))
