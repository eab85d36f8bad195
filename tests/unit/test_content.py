"""The content digest: equal for equal contents, kept by adding and taking away."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.content import (
    Sums,
    add,
    content_digest,
    item_record,
    no_content,
    pack,
    subtract,
    sum_content,
    unpack,
)

F32 = NDArray[np.float32]
DIM = 6


def sums_of(records: list[bytes], vectors: F32) -> Sums:
    places = vectors.ctypes.data + vectors.strides[0] * np.arange(len(vectors))
    return sum_content(records, places, vectors.shape[1])


def items_of(count: int, seed: int = 0) -> tuple[list[bytes], F32]:
    rng = np.random.default_rng(seed)
    records = [
        item_record(f"id-{row}".encode(), int(rng.integers(-5, 5)), rng.bytes(row % 9))
        for row in range(count)
    ]
    return records, rng.standard_normal((count, DIM), np.float32)


def test_taking_away_undoes_adding_even_over_the_border_of_a_lane() -> None:
    records, vectors = items_of(50)
    everything = sums_of(records, vectors)
    first, second = sums_of(records[:20], vectors[:20]), sums_of(records[20:], vectors[20:])
    assert add(first, second).tolist() == everything.tolist()
    assert subtract(everything, first).tolist() == second.tolist()
    assert subtract(subtract(everything, second), first).tolist() == no_content().tolist()
    below_zero = subtract(no_content(), first)
    assert add(below_zero, everything).tolist() == second.tolist()


def test_a_content_reached_by_updates_has_the_digest_of_one_made_at_once() -> None:
    rng = np.random.default_rng(0)
    held: dict[int, tuple[bytes, F32]] = {}
    sums = no_content()
    for step in range(300):
        number = int(rng.integers(30))
        if number in held:
            record, vector = held.pop(number)
            sums = subtract(sums, sums_of([record], vector))
        if step % 3:
            record, vector = item_record(b"%d" % number, step, b""), items_of(1, step)[1]
            held[number] = record, vector
            sums = add(sums, sums_of([record], vector))
    vectors = np.concatenate([vector for _, vector in held.values()])
    once = sums_of([record for record, _ in held.values()], vectors)
    assert content_digest(b"f", len(held), sums) == content_digest(b"f", len(held), once)


def test_an_item_that_is_there_twice_is_not_an_item_that_is_not_there() -> None:
    records, vectors = items_of(1)
    assert sums_of(records * 2, np.repeat(vectors, 2, axis=0)).tolist() != [0, 0, 0, 0]


def test_nothing_sums_to_nothing() -> None:
    assert sums_of([], np.zeros((0, DIM), np.float32)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("length", range(9))
def test_records_are_whole_words_and_none_begins_another(length: int) -> None:
    text = b"abcdefgh\0\0"[:length]
    records = [item_record(text[:at], 7, text[at:]) for at in range(length + 1)]
    records += [item_record(text + b"\0", 7, b""), item_record(text, 7, text + b"\0")]
    assert all(len(record) % 4 == 0 for record in records)
    for one in records:
        assert sum(other.startswith(one) for other in records) == 1


@pytest.mark.parametrize("version", [-(2**63), -1, 0, 2**63 - 1])
def test_a_record_holds_everything_it_is_made_of(version: int) -> None:
    record = item_record(b"key", version, b"extras")
    assert record == struct.pack("<IIq", 3, 6, version) + b"keyextras" + b"\0\0\0"


def test_bytes_that_change_sides_between_id_and_extras_change_the_sums() -> None:
    vectors = items_of(1)[1]
    sides = [item_record(b"abcd"[:at], 0, b"abcd"[at:]) for at in range(5)]
    assert len({pack(sums_of([record], vectors)) for record in sides}) == 5


def test_sums_are_stored_in_32_bytes_least_significant_first() -> None:
    sums = np.array([1, 2**63, 0x0102030405060708, 2**64 - 1], np.uint64)
    assert pack(sums).hex() == "01" + "00" * 14 + "80" + "0807060504030201" + "ff" * 8
    assert unpack(pack(sums)).tolist() == sums.tolist()
    unpack(pack(sums))[0] = 5  # what is given is the caller's own


@pytest.mark.parametrize("length", [0, 8, 31, 33, 64])
def test_sums_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"expected 32 bytes, received {length}"):
        unpack(bytes(length))


def test_the_digest_depends_on_the_family_the_count_and_each_sum() -> None:
    sums = np.arange(4, dtype=np.uint64)
    digests = {content_digest(b"f" * 32, 3, sums), content_digest(b"g" * 32, 3, sums)}
    digests.add(content_digest(b"f" * 32, 4, sums))
    for lane in range(4):
        other = sums.copy()
        other[lane] += np.uint64(1)
        digests.add(content_digest(b"f" * 32, 3, other))
    digests.add(content_digest(b"f" * 32, 3, sums[::-1].copy()))
    assert len(digests) == 8
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_the_digest_of_a_content_is_the_same_on_every_machine_and_in_every_release() -> None:
    record = item_record("Größe".encode(), 41, b"extras")
    vectors = np.arange(-3, 3, dtype=np.float32)[None]
    digest = content_digest(bytes(range(32)), 1, sums_of([record], vectors))
    assert digest == "e6cdc559662598ac898e32a5eb97a8035961d0b7edf0560855b8c80212690074"
