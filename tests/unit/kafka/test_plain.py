"""Records decoded many at once come to what the full decoder makes of each."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from streamlsh import Delete, Upsert, Upserts
from streamlsh_kafka import RawRecord, decode_update, encode_update
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.plain import Outcome, decode_all, decode_one
from streamlsh_kafka.source import Headers, Record

DIM = 3
VECTOR = struct.pack("<3f", 1.0, -2.5, 0.25)
PLAIN = msgpack.packb({"vector": VECTOR})


def record(value: bytes | None, *, key: bytes | None = b"a", headers: Headers = ()) -> RawRecord:
    return RawRecord("t", 0, 7, 0, key, value, headers)


def one_by_one(outcomes: Sequence[Outcome]) -> list[Any]:
    """Everything that matters of the outcomes, in a form that can be compared."""
    told: list[Any] = []
    for one in outcomes:
        if isinstance(one, Upserts):
            versions = one.versions or [None] * len(one.ids)
            assert one.vectors.dtype == np.float32
            told += [
                (item_id, row.tobytes(), version, (), None)
                for item_id, row, version in zip(one.ids, one.vectors, versions, strict=True)
            ]
        elif isinstance(one, Upsert):
            attributes = None if one.attributes is None else repr(one.attributes)
            told.append((one.id, one.vector.tobytes(), one.version, tuple(one.tags), attributes))
        elif isinstance(one, DeadLetter):
            told.append((one.record, one.reason, one.detail, one.error_class))
        else:
            told.append(one)
    return told


def assert_same(records: Sequence[RawRecord], dim: int = DIM) -> None:
    together = one_by_one(decode_all(records, decode_update, dim))
    assert together == one_by_one([decode_one(one, decode_update) for one in records])


def test_a_run_of_plain_records_is_one_array_and_others_keep_their_places() -> None:
    def sent(update: Upsert | Delete) -> RawRecord:
        key, value, headers = encode_update(update)
        return record(value, key=key, headers=headers)

    rows = np.arange(15, dtype=np.float32).reshape(5, DIM)
    records = [
        sent(Upsert("a", rows[0])),
        sent(Upsert("b", rows[1], 9)),
        sent(Delete("a")),
        sent(Upsert("c", rows[2], None, ("x",))),
        record(b"\xc1"),
        sent(Upsert("d", rows[3])),
        sent(Upsert("e", rows[4])),
    ]
    outcomes = decode_all(records, decode_update, DIM)
    kinds = [Upserts, Delete, Upsert, DeadLetter, Upserts]
    assert [type(one) for one in outcomes] == kinds
    first, last = outcomes[0], outcomes[-1]
    assert isinstance(first, Upserts)
    assert isinstance(last, Upserts)
    assert (first.ids, first.versions) == (["a", "b"], [None, 9])
    assert (last.ids, last.versions) == (["d", "e"], None)
    assert last.vectors.tolist() == rows[3:].tolist()
    assert_same(records)


def test_a_decoder_of_ones_own_sees_every_record() -> None:
    def decode(one: Record) -> Delete:
        return Delete(str(one.key or b"", "utf-8"))

    assert decode_all([record(PLAIN), record(PLAIN)], decode, DIM) == [Delete("a")] * 2


# What a byte after the vector may begin: all number formats, and what is none.
tails = st.sampled_from(
    [b"", b"\x00", b"\xc0", b"\x7f", b"\xe0", b"\xcc\xff", b"\xd0\x80", b"\xcd\x00\x01", b"\xce",
     b"\xcf" + b"\xff" * 8, b"\xcf\x7f" + b"\xff" * 7, b"\xd3\x80" + bytes(7), b"\xc2", b"\xcb",
     b"\xcb" + bytes(8), b"\x01\x01", b"\xa1x", b"\x90", b"\xd6\xff\x00\x00\x00\x00", b"\xc1"]
)  # fmt: skip
names = st.sampled_from([b"\xa7version", b"\xd9\x07version", b"\xa6vector", b"\xa4tags", b""])
headers_list: st.SearchStrategy[Headers] = st.sampled_from(
    [(), [("content-type", b"application/json")], [("trace", b"1")]]
)
keys = st.sampled_from([b"a", "\u00fc".encode(), b"", None, b"\xff", b"x" * 600])
near_values = st.builds(
    lambda count, head, name, tail: count + head + VECTOR + name + tail,
    st.sampled_from([b"\x81", b"\x82", b"\x83", b"\xde\x00\x01"]),
    st.sampled_from([b"\xa6vector\xc4\x0c", b"\xd9\x06vector\xc4\x0c", b"\xa6vector\xc5\x00\x0c"]),
    names,
    tails,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid value with a byte changed, removed or added."""
    fields: dict[str, Any] = {"vector": VECTOR}
    if draw(st.booleans()):
        fields["version"] = draw(st.integers(-(2**63), 2**63 - 1))
    value = bytearray(msgpack.packb(fields))
    at = draw(st.integers(0, len(value) - 1))
    new = draw(st.sampled_from([b"", b"\x00", b"\xff", b"\x81\x82", b"\xc4"]))
    value[at : at + draw(st.integers(0, 2))] = new
    return bytes(value)


values = st.none() | st.just(PLAIN) | near_values | mutated() | st.binary(max_size=40)


@given(st.lists(st.builds(record, values, key=keys, headers=headers_list), max_size=6))
@example([record(PLAIN), record(b"\x82" + PLAIN[1:] + b"\xa7version" + b"\xcf" + b"\xff" * 8)])
def test_records_together_are_what_the_full_decoder_makes_of_each(
    records: list[RawRecord],
) -> None:
    assert_same(records)


def test_vectors_of_every_length_of_header_are_recognised() -> None:
    for dim in (1, 63, 64, 8192):
        update = Upsert("a", np.ones(dim, np.float32))
        key, value, _ = encode_update(update)
        outcomes = decode_all([record(value, key=key)], decode_update, dim)
        assert [type(one) for one in outcomes] == [Upserts]
        assert_same([record(value, key=key)], dim)
