"""Source positions: how far the index reflects each partition of each source."""

from __future__ import annotations

import lmdb
import msgpack

from streamlsh.storage.environment import Environment
from streamlsh.storage.schema import parse_position_key, position_key
from streamlsh.updates import Position


def read_positions(
    transaction: lmdb.Transaction, environment: Environment
) -> dict[tuple[str, int], Position]:
    """All positions of the commit that a transaction sees, by (stream, partition)."""
    positions = {}
    with transaction.cursor(environment.database("positions")) as cursor:
        for key, value in cursor:
            stream, partition = parse_position_key(bytes(key))
            offset, identity = msgpack.unpackb(value)
            positions[stream, partition] = Position(stream, partition, offset, identity)
    return positions


def write_positions(
    transaction: lmdb.Transaction, environment: Environment, positions: list[Position]
) -> None:
    """Store positions over those of the same stream and partition."""
    for position in positions:
        transaction.put(
            position_key(position.stream, position.partition),
            msgpack.packb([position.offset, position.identity]),
            db=environment.database("positions"),
        )
