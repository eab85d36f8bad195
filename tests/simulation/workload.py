"""Records that producers send, and what each means: never asked of the code under test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

import msgpack
import numpy as np

from streamlsh import Delete, Upsert
from tests.simulation.broker import Entry, Partition

DIM = 4
VERSIONED = [f"v{number}" for number in range(7)]
PLAIN = [f"p{number}" for number in range(6)]
POOL = np.random.default_rng(11).integers(1, 9, (24, DIM)).astype(np.float32)

_Sent = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]], Upsert | Delete | None, str]


def _vector(row: np.ndarray) -> bytes:
    return row.astype("<f4").tobytes()


def _poison() -> list[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]], str]]:
    """Bad records, each with the reason that must be given."""
    good = _vector(POOL[0])
    packed = msgpack.packb({"vector": good})
    nan = _vector(np.array([1, np.nan, 2, 3]))
    as_json = [("content-type", b"application/json")]
    return [
        (b"v0", b"\xc1", (), "bad-msgpack"),
        (b"p1", b"", (), "bad-msgpack"),
        (b"v1", packed + b"\x00", (), "trailing-bytes"),
        (b"p0", msgpack.packb([1, 2]), (), "not-a-map"),
        (None, packed, (), "no-key"),
        (None, None, (), "no-key"),
        (b"\xff\xfe", packed, (), "bad-key"),
        (b"k" * 512, packed, (), "item-id"),
        (b"v2", msgpack.packb({"vector": good[4:]}), (), "dimension"),
        (b"p2", msgpack.packb({"vector": nan}), (), "non-finite-vector"),
        (b"v3", msgpack.packb({"vector": bytes(4 * DIM)}), (), "zero-vector"),
        (b"v4", msgpack.packb({"vector": good, "version": "1"}), (), "bad-version"),
        (b"v5", msgpack.packb({"vector": good, "version": -(2**63)}), (), "version"),
        (b"v1", None, [("version", b"+1")], "bad-version"),
        (b"p3", msgpack.packb({"vector": good, "colour": 1}), (), "unknown-field"),
        (b"p4", b'{"vector": [1, 2, 3, 4]', as_json, "bad-json"),
        (b"p5", b'{"vector": [1, 2, 3, 4], "vector": [1, 2, 3, 4]}', as_json, "duplicate-field"),
        (b"v6", packed, [("content-type", b"text/plain")], "content-type"),
    ]


POISON = _poison()


class Workload:
    """Makes records: updates, deletes, repeats, late versions and poison.

    Attributes:
        versions: the highest version sent so far, by id.
    """

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self._sent: list[_Sent] = []

    def forget(self) -> None:
        """Do not repeat what was sent to an earlier topic."""
        self._sent = []

    def append(self, random: Random, partitions: list[Partition], now: float, wall: float) -> Entry:
        """Append one record to the partition of its key, or now and then to another."""
        sent = self._next(random)
        key, value, headers, update, reason = sent
        place = sum(key or b"") if random.random() < 0.9 else random.randrange(99)
        partition = partitions[place % len(partitions)]
        entry = Entry(
            partition.number, partition.end, int(wall * 1000), key, value, headers, update, reason,
            now,
        )  # fmt: skip
        partition.append(entry)
        self._sent.append(sent)
        return entry

    def _next(self, random: Random) -> _Sent:
        luck = random.random()
        if luck < 0.09:
            key, value, headers, reason = random.choice(POISON)
            return key, value, headers, None, reason
        if luck < 0.16 and self._sent:
            return random.choice(self._sent)
        versioned = random.random() < 0.55
        name = random.choice(VERSIONED if versioned else PLAIN)
        version = None
        if versioned and random.random() < 0.93:
            newest = self.versions.get(name, 0)
            late = random.random() < 0.2
            version = random.randint(0, newest) if late else newest + random.randint(1, 3)
            self.versions[name] = max(newest, version)
        if random.random() < 0.2:
            stated = [] if version is None else [("version", b"%d" % version)]
            return name.encode(), None, stated, Delete(name, version), ""
        return _upsert(random, name, version)


def _upsert(random: Random, name: str, version: int | None) -> _Sent:
    row = random.choice(POOL)
    fields: dict[str, object] = {"vector": _vector(row)}
    if version is not None:
        fields["version"] = version
    tags: tuple[str, ...] = ()
    attributes = None
    headers: list[tuple[str, bytes]] = []
    if random.random() < 0.2:
        tags = tuple(random.sample(["new", "sale", "old"], 2))
        attributes = {"price": random.randrange(9)}
        fields |= {"tags": list(tags), "attributes": attributes}
    if random.random() < 0.1:
        headers = [("content-type", b"application/json")]
        value = json.dumps(fields | {"vector": row.tolist()}).encode()
    else:
        value = msgpack.packb(fields)
    return name.encode(), value, headers, Upsert(name, row, version, tags, attributes), ""
