"""No record ends in anything but a valid update or a typed error, in memory in proportion to it."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlsh_kafka import DecodeError, RawRecord, decode_update
from streamlsh_kafka.errors import CorruptUpdateLogError
from streamlsh_kafka.update_log import MAGIC, UpdateLogSource
from tests.fuzz import records
from tests.fuzz.strategies import FUZZ, any_bytes, values, within_memory

VECTOR = struct.pack("<4f", 1.0, -2.5, 0.25, 3.0)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.booleans()
NAMES = st.sampled_from(["vector", "version", "tags", "attributes", "a", "\u00fc"])
JSON_LEAVES = st.none() | NUMBERS | st.text(max_size=6)
MSGPACK_LEAVES = (
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.binary(max_size=20)
)  # fmt: skip


def most_memory(data: bytes) -> int:
    """What checking a record may take: decoding, encoding it again, and comparing."""
    return (1 << 20) + 400 * len(data)


def check(kind: Any, data: bytes) -> None:
    within_memory(kind, data, most_memory(data))


def fields(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Maps like those of an update, of which any part may be something else."""
    anything = values(leaves, NAMES)
    return st.fixed_dictionaries(
        {"vector": st.lists(leaves, min_size=4, max_size=4) | anything},
        optional={
            "version": leaves,
            "tags": st.lists(leaves, max_size=3),
            "attributes": st.dictionaries(NAMES, anything, max_size=3) | anything,
        },
    )


@FUZZ
@given(any_bytes(records.msgpack_seeds()))
def test_bytes_as_messagepack(data: bytes) -> None:
    check(records.check_msgpack, data)


@FUZZ
@given(fields(MSGPACK_LEAVES) | values(MSGPACK_LEAVES, NAMES | st.integers(0, 9) | st.binary()))
def test_values_as_messagepack(value: Any) -> None:
    check(records.check_msgpack, msgpack.packb(value))


@FUZZ
@given(any_bytes(records.json_seeds()))
def test_bytes_as_json(data: bytes) -> None:
    check(records.check_json, data)


@FUZZ
@given(fields(JSON_LEAVES) | values(JSON_LEAVES, NAMES), st.booleans())
def test_values_as_json(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    check(records.check_json, text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(any_bytes(records.envelope_seeds()))
def test_bytes_as_key_headers_and_value(data: bytes) -> None:
    # Dead letters are read again from an update log, a megabyte at a time.
    within_memory(records.check_envelope, data, most_memory(data) + (2 << 20))


@FUZZ
@given(
    st.none() | st.binary(max_size=600),
    st.none() | st.sampled_from([b"", *records.msgpack_seeds(), *records.json_seeds()]),
    st.lists(
        st.tuples(
            st.sampled_from(["content-type", "Content-Type", "version", "h"])
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
            st.none() | st.binary(max_size=30)
            | st.sampled_from([b"application/json", b"12", b"-9223372036854775808", b"1" * 25]),
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_keys_and_headers_of_every_kind(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    letter = records.check_record(RawRecord("t", 0, 7, 0, key, value, headers))
    if letter is not None:
        records.check_letter(letter)


@FUZZ
@given(any_bytes(records.update_log_seeds()))
def test_bytes_as_an_update_log(data: bytes) -> None:
    records.check_update_log(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\x00\x00\xff\xff" * 400,
        b"\xdf\x00\x00\x0f\xff\xa1a" * 400,
        b"\x81\xa6vector\xdd\x00\x00\xff\xff",
        b"\xc6\x7f\xff\xff\xff",
    ],
)
def test_what_a_value_announces_and_does_not_hold_takes_no_memory(data: bytes) -> None:
    def decode(value: bytes) -> None:
        with pytest.raises(DecodeError) as caught:
            decode_update(RawRecord("t", 0, 7, 0, b"a", value))
        assert caught.value.reason == "bad-msgpack"

    within_memory(decode, data, 256 * 1024)


@pytest.mark.parametrize(
    "payload", [b"\xc1", b"\x94\x00\x01\xc0\x90", b"\x93\x00\xc0\xc0", b"\x94\xc0\xc0\xc0\x90"]
)
def test_a_payload_of_an_update_log_that_is_no_record_is_damage(
    tmp_path: Any, payload: bytes
) -> None:
    path = tmp_path / "log"
    path.write_bytes(MAGIC + bytes(16) + records.frame(payload))
    source = UpdateLogSource(path)
    with pytest.raises(CorruptUpdateLogError, match="cannot be read"):
        source.poll(0.0, 10)
    source.close()


def test_a_signalling_nan_is_refused_like_any_other() -> None:
    value = b"\x81\xa6vector\x94" + b"\xcb\x7f\xf3\x80\x00\x00\x00\x00\x00" + b"\x01\x02\x03"
    letter = records.check_record(RawRecord("t", 0, 7, 0, b"a", value))
    assert letter is not None
    assert letter.reason == "non-finite-vector"
