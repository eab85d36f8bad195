"""Records of a topic, frames of an update log: decoded, or refused with a reason."""

from __future__ import annotations

import io
import json
import re
import struct
import tempfile
import zlib
from pathlib import Path

import msgpack
import numpy as np

from streamlsh import Delete, IndexConfig, Upsert, Upserts, validate_update
from streamlsh.errors import InvalidInputError
from streamlsh.updates import pack_extras, unpack_extras, unpack_tags
from streamlsh_kafka import DecodeError, RawRecord, decode_update, encode_update
from streamlsh_kafka.batches import reason_of
from streamlsh_kafka.dead_letters import DeadLetter, UpdateLogDeadLetters
from streamlsh_kafka.errors import CorruptUpdateLogError
from streamlsh_kafka.plain import decode_all, decode_one
from streamlsh_kafka.source import Headers
from streamlsh_kafka.update_log import MAGIC, UpdateLogSource

DIM = 4
CONFIG = IndexConfig(DIM, "cosine", "hyperplane", {}, 0, 0.0, 5)
JSON_HEADERS: Headers = [("content-type", b"application/json")]
REASONS = set(
    re.findall(
        "`([a-z-]+)`",
        (Path(__file__).parents[2] / "docs" / "wire-format.md")
        .read_text(encoding="utf-8")
        .partition("## Reasons")[2],
    )
)
"""What docs/wire-format.md names."""
_VECTOR = struct.pack("<4f", 1.0, -2.5, 0.25, 3.0)
_FRAME = struct.Struct("<III")


def check_record(record: RawRecord) -> DeadLetter | None:
    """A record is a valid update that survives encoding, or is refused with a known reason."""
    letter = None
    try:
        update = decode_update(record)
        validate_update(CONFIG, update)
    except (DecodeError, InvalidInputError) as error:
        name = type(error).__name__
        reason = error.reason if isinstance(error, DecodeError) else reason_of(name)
        assert reason in REASONS, reason
        letter = DeadLetter(record, reason, str(error), name)
    else:
        _check_round_trip(update)
    together = decode_all([record], decode_update, DIM)
    assert [_plainly(one) for one in together] == [_plainly(decode_one(record, decode_update))]
    return letter


def check_msgpack(data: bytes) -> None:
    """As the value of a record in MessagePack."""
    check_record(RawRecord("t", 0, 7, 0, b"a", data))


def check_json(data: bytes) -> None:
    """As the value of a record in JSON."""
    check_record(RawRecord("t", 0, 7, 0, b"a", data, JSON_HEADERS))


def check_envelope(data: bytes) -> None:
    """As everything of a record: each part begins with a byte for its length, 255 for none."""
    stream = io.BytesIO(data)

    def part() -> bytes | None:
        length = stream.read(1)
        return None if length in (b"", b"\xff") else stream.read(length[0])

    key = part()
    headers = []
    for _ in range((stream.read(1) or b"\0")[0] % 4):
        name = part() or b""
        headers.append((name.decode("utf-8", "replace"), part()))
    value = None if stream.read(1) in (b"", b"\xff") else stream.read()
    letter = check_record(RawRecord("t", 0, 7, 0, key, value, headers))
    if letter is not None:
        check_letter(letter)


def check_update_log(data: bytes) -> None:
    """As payloads of frames with sound checksums, and behind them as bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(MAGIC + bytes(16) + frame(data[: len(data) // 2]) + data)
        _read_log(path)
        path.write_bytes(MAGIC + bytes(16) + frame(data))
        _read_log(path)
        path.write_bytes(data)
        _read_log(path)


def frame(payload: bytes) -> bytes:
    """A payload as an update log holds it."""
    length = struct.pack("<I", len(payload))
    return _FRAME.pack(len(payload), zlib.crc32(length), zlib.crc32(payload)) + payload


def _read_log(path: Path) -> None:
    try:
        source = UpdateLogSource(path)
    except CorruptUpdateLogError:
        return
    try:
        while records := source.poll(0.0, 10):
            for record in records:
                check_record(record)
    except CorruptUpdateLogError:
        pass
    finally:
        source.close()


def check_letter(letter: DeadLetter) -> None:
    """A dead letter holds the record as it came, and can be stored and read again."""
    record, headers = letter.record, letter.headers()
    assert headers[: len(record.headers)] == [(n, v or b"") for n, v in record.headers]
    added = dict(headers[len(record.headers) :])
    assert added["streamlsh-reason"].decode() == letter.reason
    assert len(added["streamlsh-detail"]) <= 4 * 1000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "letters"
        letters = UpdateLogDeadLetters(path)
        letters.put([letter])
        letters.close()
        source = UpdateLogSource(path)
        (stored,) = source.poll(0.0, 2)
        source.close()
    assert (stored.key, stored.value) == (record.key, record.value)
    assert list(stored.headers) == headers


def _check_round_trip(update: Upsert | Delete) -> None:
    for encoding in ("msgpack", "json"):
        again = decode_update(RawRecord("t", 0, 7, 0, *encode_update(update, encoding=encoding)))
        assert _plainly(again) == _plainly(update)
    if isinstance(update, Upsert):
        packed = pack_extras(update.tags, update.attributes)
        tags, attributes = unpack_extras(packed)
        assert tags == tuple(sorted(set(update.tags)))
        assert _text(attributes) == _text(update.attributes)
        assert unpack_tags(packed) == [tag.encode() for tag in tags]


def _plainly(outcome: object) -> object:
    """Everything that matters of one outcome, so that it can be compared."""
    if isinstance(outcome, Upserts):
        (item_id,), (row,) = outcome.ids, outcome.vectors
        version = None if outcome.versions is None else outcome.versions[0]
        return item_id, row.tobytes(), version, (), None
    if isinstance(outcome, Upsert):
        vector = np.asarray(outcome.vector).tobytes()
        return outcome.id, vector, outcome.version, tuple(outcome.tags), _text(outcome.attributes)
    if isinstance(outcome, DeadLetter):
        return outcome.reason, outcome.detail
    return outcome


def _text(attributes: object) -> str | None:
    """Attributes in a form that tells 1 from True and 1.0, and finds NaN equal to itself."""
    if attributes is None:
        return None
    return json.dumps(attributes, sort_keys=True, default=repr)


def msgpack_seeds() -> list[bytes]:
    """Good values, and the usual kinds of bad ones."""
    return [
        msgpack.packb({"vector": _VECTOR}),
        msgpack.packb({"vector": _VECTOR, "version": 2**63 - 1}),
        msgpack.packb(
            {
                "vector": [1, -2.5, 0.25, 3],
                "tags": ["a", "b\u00fc"],
                "attributes": {"n": [1, {"m": None}], "x": 2.5, "t": True},
            }
        ),
        b"\x82\xa6vector\xc4\x10" + _VECTOR + b"\xa6vector\xc4\x10" + _VECTOR,
        b"\x81\xa6vector\xdd\x7f\xff\xff\xff",
        b"\xdd\x00\x00\xff\xff" * 20,
        b"\x82\xa6vector\xc4\x10" + _VECTOR + b"\xaaattributes" + b"\x81\xa1a" * 20 + b"\xc0",
        msgpack.packb({"vector": [float("nan"), 1e300, 2**64 - 1, -(2**63)]}),
        msgpack.packb({"vector": _VECTOR, "attributes": {"t": msgpack.Timestamp(1, 2)}}),
    ]


def json_seeds() -> list[bytes]:
    """Good values, and the usual kinds of bad ones."""
    return [
        b'{"vector": [1, -2.5, 0.25, 3]}',
        b'{"vector": [1, 2, 3, 4], "version": -9, "tags": ["a"], "attributes": {"n": [1.5, {}]}}',
        b'{"vector": [1, 2, 3, 4], "vector": [1, 2, 3, 4]}',
        b'{"vector": [1e999, NaN, -0.0, 123456789012345678901234567890]}',
        b'{"vector": [1, 2, 3, 4], "attributes": {"a": "\\ud83d\\ude00 \\ud800"}}',
        b'{"vector": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"vector": [1, 2, 3, ' + b"9" * 400 + b"]}",
        b'{"vector": ' + b"[" * 5000,
    ]


def envelope_seeds() -> list[bytes]:
    """Records of both encodings and a delete, laid out as ``check_envelope`` reads them."""
    kind = b"\x01\x0ccontent-type\x10application/json"
    return [
        b"\x01a\x00\x00" + msgpack_seeds()[1],
        b"\x01a" + kind + b"\x00" + json_seeds()[1],
        b"\x01a\x01\x07version\x0212\xff",
        b"\xff\x00\x00{}",
    ]


def update_log_seeds() -> list[bytes]:
    """Payloads, and a whole file."""
    payload: bytes = msgpack.packb([0, b"a", msgpack_seeds()[1], [["h", b"x"], ["n", None]]])
    return [payload, msgpack.packb([0, None, None, []]), MAGIC + bytes(16) + frame(payload)]
