"""Plain records, decoded many at once: a map of ``vector`` as bytes and perhaps ``version``.

Most streams consist of little else. The value of such a record begins with the same bytes for
every vector of one dimension, so it is recognised by them and by its length, and its vector is
taken out as it stands. All others take the long way through `decode_update`, which gives the
same updates for plain records and says what is wrong with bad ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgpack
import numpy as np

from streamlsh import Delete, Upsert, Upserts
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.decoders import Decoder
from streamlsh_kafka.errors import DecodeError
from streamlsh_kafka.source import Record
from streamlsh_kafka.wire import INT64_MAX, INT64_MIN, WIRE_FLOAT, decode_update

Outcome = Upsert | Delete | Upserts | DeadLetter
"""What becomes of a record, or of several in a row."""

_ONE_FIELD: Final = b"\x81"
_TWO_FIELDS: Final = b"\x82"
_VERSION: Final = b"\xa7version"
_NUMBERS: Final = frozenset([*range(0x80), *range(0xE0, 0x100), 0xC0, *range(0xCC, 0xD4)])
"""First bytes of integers and of nil in MessagePack."""


def decode_all(records: Sequence[Record], decoder: Decoder, dim: int) -> list[Outcome]:
    """Decode records in order; every run of plain ones becomes one `Upserts`.

    Args:
        records: as the source gave them.
        decoder: what decides. Plain records are recognised only if it is `decode_update`.
        dim: of the index. Vectors of another length are not plain.
    """
    if decoder is not decode_update:
        return [decode_one(record, decoder) for record in records]
    outcomes: list[Outcome] = []
    run = _Run(dim)
    for record in records:
        if run.add(record):
            continue
        if run.ids:
            outcomes.append(run.upserts())
            run = _Run(dim)
        outcomes.append(decode_one(record, decoder))
    if run.ids:
        outcomes.append(run.upserts())
    return outcomes


def decode_one(record: Record, decoder: Decoder) -> Upsert | Delete | DeadLetter:
    """Decode a record, or say why it cannot be."""
    try:
        update: object = decoder(record)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything
        reason = error.reason if isinstance(error, DecodeError) else "decoder-failed"
        return DeadLetter(record, reason, str(error), type(error).__name__)
    if not isinstance(update, Upsert | Delete):
        detail = f"the decoder returned {type(update).__name__}, no update"
        return DeadLetter(record, "decoder-failed", detail, "TypeError")
    return update


class _Run:
    """Plain records that follow each other.

    Attributes:
        ids: one a record.
    """

    def __init__(self, dim: int) -> None:
        self.ids: list[str] = []
        self._vectors: list[bytes] = []
        self._versions: list[int | None] = []
        self._dim = dim
        head = _vector_head(dim)
        self._alone, self._with_version = _ONE_FIELD + head, _TWO_FIELDS + head
        self._start = len(self._alone)
        self._end = self._start + dim * WIRE_FLOAT.itemsize

    def add(self, record: Record) -> bool:
        """Take a record in, if it is plain."""
        key, value = record.key, record.value
        if value is None or not key or record.headers:
            return False
        version = None
        if len(value) != self._end or not value.startswith(self._alone):
            if not value.startswith(self._with_version):
                return False
            try:
                version = _version(value[self._end :])
            except ValueError:
                return False
        try:
            self.ids.append(str(key, "utf-8"))
        except UnicodeDecodeError:
            return False
        self._vectors.append(value[self._start : self._end])
        self._versions.append(version)
        return True

    def upserts(self) -> Upserts:
        """All of them."""
        vectors = np.frombuffer(b"".join(self._vectors), WIRE_FLOAT)
        versions = None if set(self._versions) == {None} else self._versions
        return Upserts(self.ids, vectors.reshape(len(self.ids), self._dim), versions)


@cache
def _vector_head(dim: int) -> bytes:
    """The field's name and the header of its bytes, whose lengths come first."""
    size = dim * WIRE_FLOAT.itemsize
    head: bytes = msgpack.packb("vector") + msgpack.packb(bytes(size))
    return head[:-size]


def _version(rest: bytes) -> int | None:
    """The version in the field after the vector, or ``ValueError`` if it is anything else."""
    number = rest.removeprefix(_VERSION)
    if len(number) in (0, len(rest)) or number[0] not in _NUMBERS:
        raise ValueError("another field, or no number in it")
    version: int | None = msgpack.unpackb(number)
    if version is not None and not INT64_MIN <= version <= INT64_MAX:
        raise ValueError("more than 64 bits")
    return version
