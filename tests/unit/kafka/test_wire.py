"""The wire format: what is accepted, what is refused and with which reason."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlsh import Delete, Upsert
from streamlsh_kafka import DecodeError, RawRecord, decode_update, encode_update
from streamlsh_kafka.source import Headers
from streamlsh_kafka.wire import MAX_DEPTH, MAX_VALUE_BYTES, MAX_VECTOR_ELEMENTS

JSON: Headers = [("content-type", b"application/json")]
VECTOR = struct.pack("<2f", 1.0, -2.5)


def record(value: bytes | None, *, key: bytes | None = b"a", headers: Headers = ()) -> RawRecord:
    return RawRecord("t", 0, 7, 0, key, value, headers)


def packed(**fields: Any) -> RawRecord:
    return record(msgpack.packb(fields))


def reason_for(bad: RawRecord) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_update(bad)
    return caught.value.reason


def upsert(good: RawRecord) -> Upsert:
    update = decode_update(good)
    assert isinstance(update, Upsert)
    return update


def test_msgpack_with_little_endian_floats_is_an_upsert() -> None:
    update = upsert(packed(vector=VECTOR))
    assert update.id == "a"
    assert update.vector.dtype == np.float32
    assert update.vector.tolist() == [1.0, -2.5]
    assert (update.version, tuple(update.tags), update.attributes) == (None, (), None)


def test_msgpack_with_an_array_of_numbers_is_the_same_upsert() -> None:
    assert upsert(packed(vector=[1, -2.5])).vector.tolist() == [1.0, -2.5]


def test_all_optional_fields_are_read() -> None:
    update = upsert(
        packed(vector=VECTOR, version=-3, tags=["x", "y"], attributes={"p": {"q": [1, None]}})
    )
    assert update.version == -3
    assert tuple(update.tags) == ("x", "y")
    assert update.attributes == {"p": {"q": [1, None]}}


def test_optional_fields_may_be_null() -> None:
    update = upsert(packed(vector=VECTOR, version=None, tags=None, attributes=None))
    assert (update.version, tuple(update.tags), update.attributes) == (None, (), None)


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=utf-8"])
def test_json_is_read_when_the_header_says_so(kind: bytes) -> None:
    value = json.dumps({"vector": [0.5, 1], "version": 2, "tags": ["\u00fc"]}).encode()
    update = upsert(record(value, headers=[("trace", b"1"), ("content-type", kind)]))
    assert update.vector.tolist() == [0.5, 1.0]
    assert update.version == 2
    assert tuple(update.tags) == ("\u00fc",)


def test_a_null_value_is_a_delete() -> None:
    assert decode_update(record(None)) == Delete("a", None)


@pytest.mark.parametrize("text", [b"0", b"42", b"-9223372036854775808", b"9223372036854775807"])
def test_a_delete_takes_its_version_from_the_header(text: bytes) -> None:
    assert decode_update(record(None, headers=[("version", text)])) == Delete("a", int(text))


@pytest.mark.parametrize(
    "text",
    [b"", b"-", b"1.0", b" 1", b"+1", b"1_0", "\u0661".encode(), b"9" * 19, b"--1", b"9" * 99],
)
def test_a_version_header_that_is_no_64_bit_integer_is_refused(text: bytes) -> None:
    assert reason_for(record(None, headers=[("version", text)])) == "bad-version"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(b"\x80", key=None), "no-key"),
        (record(None, key=b""), "no-key"),
        (record(b"\x80", key=b"\xff"), "bad-key"),
        (record(b""), "bad-msgpack"),
        (record(b"\xc1"), "bad-msgpack"),
        (record(msgpack.packb({"vector": VECTOR})[:-1]), "bad-msgpack"),
        (record(msgpack.packb({"vector": VECTOR}) + b"\x00"), "trailing-bytes"),
        (record(msgpack.packb([1, 2])), "not-a-map"),
        (record(b"\x81\xc0\x01"), "bad-msgpack"),
        (record(b"\x82\xa1v\x01\xa1v\x02"), "duplicate-field"),
        (record(b"\x00" * (MAX_VALUE_BYTES + 1)), "value-too-large"),
        (record(b"\xdd\xff\xff\xff\xff"), "bad-msgpack"),
        (record(b"\xdf\xff\xff\xff\xff"), "bad-msgpack"),
        (record(b"\xc6\xff\xff\xff\xff"), "bad-msgpack"),
        (record(b"\x91" * 100_000), "too-deep"),
        (record(msgpack.packb({"vector": msgpack.ExtType(5, b"x")})), "bad-msgpack"),
        (record(msgpack.packb(msgpack.Timestamp(1))), "not-a-map"),
        (packed(vektor=VECTOR), "unknown-field"),
        (packed(vector=VECTOR, extra=1), "unknown-field"),
        (packed(version=1), "no-vector"),
        (packed(vector=None), "bad-vector"),
        (packed(vector=b""), "bad-vector"),
        (packed(vector=[]), "bad-vector"),
        (packed(vector=VECTOR[:-1]), "bad-vector"),
        (packed(vector="abcd"), "bad-vector"),
        (packed(vector=[1, "2"]), "bad-vector"),
        (packed(vector=[1, True]), "bad-vector"),
        (packed(vector=[[1]]), "bad-vector"),
        (packed(vector=bytes(4 * MAX_VECTOR_ELEMENTS + 4)), "bad-vector"),
        (packed(vector=VECTOR, version="1"), "bad-version"),
        (packed(vector=VECTOR, version=1.0), "bad-version"),
        (packed(vector=VECTOR, version=True), "bad-version"),
        (packed(vector=VECTOR, version=2**63), "bad-version"),
        (packed(vector=VECTOR, tags="x"), "bad-tags"),
        (packed(vector=VECTOR, tags=[1]), "bad-tags"),
        (packed(vector=VECTOR, attributes=[1]), "bad-attributes"),
        (packed(vector=VECTOR, attributes={"t": msgpack.Timestamp(1)}), "bad-attributes"),
        (packed(vector=VECTOR, attributes={"t": {b"k": 1}}), "bad-attributes"),
        (record(b"{", headers=JSON), "bad-json"),
        (record(b"", headers=JSON), "bad-json"),
        (record(b"\xff", headers=JSON), "bad-json"),
        (record(b"{} {}", headers=JSON), "trailing-bytes"),
        (record(b'{"vector": [NaN]}', headers=JSON), "bad-json"),
        (record(b'{"vector": [-Infinity]}', headers=JSON), "bad-json"),
        (record(b'{"vector": [1], "vector": [2]}', headers=JSON), "duplicate-field"),
        (record(b'{"vector": [1], "tags": ["\\ud800"]}', headers=JSON), "bad-json"),
        (record(b'{"vector": [1], "version": ' + b"9" * 5000 + b"}", headers=JSON), "bad-json"),
        (record(b'{"vector": [1' + b"0" * 400 + b"]}", headers=JSON), "bad-vector"),
        (record(b"[" * 100_000, headers=JSON), "too-deep"),
        (record(b'{"vector": [1], "attributes": {"a": 1' + b"0" * 30 + b"}}", headers=JSON),
         "bad-attributes"),
        (record(b"<a/>", headers=[("content-type", b"text/xml")]), "content-type"),
        (record(b"\x80", headers=[("content-type", None)]), "content-type"),
    ],
)  # fmt: skip
def test_what_breaks_the_format_is_refused_with_its_reason(bad: RawRecord, reason: str) -> None:
    assert reason_for(bad) == reason


def test_attributes_may_nest_up_to_the_limit_and_not_deeper() -> None:
    def nested(levels: int) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for _ in range(levels - 1):
            tree = {"x": tree}
        return tree

    # The value's own map is the first level.
    assert upsert(packed(vector=VECTOR, attributes=nested(MAX_DEPTH - 1))).attributes
    assert reason_for(packed(vector=VECTOR, attributes=nested(MAX_DEPTH))) == "too-deep"


def test_a_number_too_large_for_float32_becomes_infinite_for_the_library_to_refuse() -> None:
    assert np.isinf(upsert(packed(vector=[1e300])).vector).all()


@given(st.binary(max_size=300), st.sampled_from([(), JSON]))
def test_any_bytes_end_in_an_update_or_a_decode_error(value: bytes, headers: Headers) -> None:
    with suppress(DecodeError):
        assert isinstance(decode_update(record(value, headers=headers)), Upsert)


# A few letters of one to four bytes: all of Unicode takes seconds to set up and finds no more.
plain_text = st.text("a\x00\u00fc\u20ac\U0001f600", max_size=6)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | plain_text
trees = st.recursive(
    leaves | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_text, inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["vector", "version", "tags", "attributes", "other"])


@given(st.dictionaries(names, trees, max_size=5))
def test_any_msgpack_map_ends_in_an_update_or_a_decode_error(fields: dict[str, Any]) -> None:
    with suppress(DecodeError):
        assert isinstance(decode_update(packed(**fields)), Upsert)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(0, 255))
def test_one_flipped_byte_never_raises_anything_else(noise: bytes, at: int, byte: int) -> None:
    good = bytearray(msgpack.packb({"vector": VECTOR, "tags": ["a"], "attributes": {"k": noise}}))
    good[at % len(good)] = byte
    with suppress(DecodeError):
        assert isinstance(decode_update(record(bytes(good))), Upsert)


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)


@given(
    item_id=plain_text.filter(bool),
    vector=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    version=st.none() | st.integers(-(2**63), 2**63 - 1),
    tags=st.lists(plain_text, max_size=3),
    attributes=st.none() | st.dictionaries(plain_text, json_trees, min_size=1, max_size=3),
    encoding=st.sampled_from(["msgpack", "json"]),
)
def test_what_is_encoded_is_decoded_to_the_same_update(
    item_id: str,
    vector: list[float],
    version: int | None,
    tags: list[str],
    attributes: dict[str, Any] | None,
    encoding: str,
) -> None:
    before = Upsert(item_id, np.array(vector, np.float32), version, tuple(tags), attributes)
    key, value, headers = encode_update(before, encoding=encoding)
    after = upsert(record(value, key=key, headers=headers))
    assert (after.id, after.version, tuple(after.tags)) == (item_id, version, tuple(tags))
    assert after.attributes == attributes
    assert after.vector.tobytes() == before.vector.tobytes()


@pytest.mark.parametrize("version", [None, -1, 2**63 - 1])
def test_a_delete_survives_the_wire(version: int | None) -> None:
    key, value, headers = encode_update(Delete("\u00e9", version))
    assert decode_update(record(value, key=key, headers=headers)) == Delete("\u00e9", version)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="msgpack or json"):
        encode_update(Upsert("a", np.ones(1, np.float32)), encoding="xml")
