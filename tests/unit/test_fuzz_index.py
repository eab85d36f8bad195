"""Whatever the small records of an index hold: it opens, or a typed error says why not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamlsh
from streamlsh.buckets.merging import Merge
from streamlsh.buckets.segment import Segment
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import (
    CALIBRATION_KEY,
    CONFIG_KEY,
    STATE_KEY,
    number_key,
    position_key,
)
from streamlsh.storage.sealing import seal
from streamlsh.storage.state import State, read_state
from streamlsh.updates import unpack_extras, unpack_tags
from tests.fuzz import indexes
from tests.fuzz.strategies import any_bytes, values, within_memory
from tests.fuzz.targets import TARGETS
from tests.tampering import tampering

RECORDS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.binary(max_size=9)
)  # fmt: skip
VALUES = values(LEAVES, st.text("ab", max_size=1))
SEALED = {"state", "calibration", "position"}
"""Records that end with a checksum, which the targets put there."""
PLACES = {
    "config": ("meta", CONFIG_KEY),
    "state": ("meta", STATE_KEY),
    "calibration": ("meta", CALIBRATION_KEY),
    "position": ("positions", position_key("topic", 0)),
    "extras": ("extras", number_key(7)),
}
INDEX_TARGETS = ["format", "digest", "family", *PLACES]


@pytest.mark.parametrize("name", INDEX_TARGETS)
@RECORDS
@given(data=st.data())
def test_bytes_as_a_record(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    within_memory(target.check, data.draw(any_bytes(target.seeds())), 64 << 20)


@pytest.mark.parametrize("name", list(PLACES))
@RECORDS
@given(data=st.data())
def test_other_values_in_a_record(name: str, data: st.DataObject) -> None:
    """A record that can be read, with one of its values another, at any depth."""
    record = msgpack.unpackb(_packed(name), strict_map_key=False)
    changed = _with_another(record, data.draw(VALUES), data.draw(st.lists(st.integers(0, 9))))
    within_memory(TARGETS[name].check, msgpack.packb(changed), 64 << 20)


def _packed(name: str) -> bytes:
    """A record of the sound index, without its checksum."""
    return (indexes.opened if name in SEALED else indexes.stored)(*PLACES[name])


def _with_another(record: Any, value: Any, way: list[int]) -> Any:
    """A copy of a nested record with another value at the end of a way into it."""
    if not isinstance(record, list | dict) or not record or not way:
        return value
    copy = record.copy()
    places: list[Any] = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
    place = places[way[0] % len(places)]
    copy[place] = _with_another(copy[place], value, way[1:])
    return copy


@pytest.mark.parametrize(
    "packed", [b"\xc1", b"\x92\xa1a\xc0", b"\x92\x91\x01\xc0", b"\x91\x90", b"\x92\x90\x01"]
)
def test_tags_and_attributes_that_are_none_are_corruption(packed: bytes) -> None:
    with pytest.raises(CorruptIndexError, match="tags and attributes"):
        unpack_extras(packed)


@pytest.mark.parametrize("packed", [b"\xc1", b"\x92\xa1a\xc0", b"\x92\x91\x01\xc0", b"\x92\xc0"])
def test_tags_that_are_none_are_corruption(packed: bytes) -> None:
    with pytest.raises(CorruptIndexError, match="tags and attributes"):
        unpack_tags(packed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexes.sound(), tmp_path / "index"))


def _record(path: Path, name: str, change: Callable[[Any], object]) -> None:
    database, key = PLACES[name]
    record = msgpack.unpackb(_packed(name), strict_map_key=False)
    change(record)
    changed = msgpack.packb(record)
    with tampering(path, database) as transaction:
        transaction.put(key, seal(key, changed) if name in SEALED else changed)


@pytest.mark.parametrize(("name", "change", "named"), [
    ("position", lambda r: r.__setitem__(0, -1), "source position"),
    ("position", lambda r: r.__setitem__(1, 5), "source position"),
    ("calibration", lambda r: r[3].__setitem__(0, "much"), "calibration"),
    ("calibration", lambda r: r[4].clear(), "calibration"),
    ("calibration", lambda r: r[4][0][1][0].__setitem__(3, float("nan")), "calibration"),
])  # fmt: skip
def test_a_record_with_one_value_that_cannot_be_is_named(
    path: Path, name: str, change: Callable[[Any], object], named: str
) -> None:
    _record(path, name, change)
    with streamlsh.open(path) as reader, pytest.raises(CorruptIndexError, match=named):
        reader.info()


def test_no_count_of_the_state_is_believed_beyond_what_there_is(path: Path) -> None:
    sound = msgpack.unpackb(_packed("state"))
    counts = [place for place, value in enumerate(sound) if type(value) is int]
    assert len(counts) >= 6
    for place in counts:
        data = msgpack.packb([*sound[:place], 2**62, *sound[place + 1 :]])
        within_memory(indexes.check_state, data, 16 << 20)
    slot_end = replace(read_state_of(path), slot_end=2**62)
    with tampering(path, "meta") as transaction:
        transaction.put(STATE_KEY, slot_end.pack())
    with streamlsh.open(path) as reader, pytest.raises(CorruptIndexError, match="state"):
        len(reader)


@pytest.mark.parametrize("change", [
    lambda merge: merge.at.__setitem__(0, 4),
    lambda merge: merge.at.__setitem__(0, -1),
    lambda merge: merge.place.__setitem__(0, 2),
    lambda merge: merge.place.__setitem__(1, -1),
    lambda merge: merge.place.__setitem__(2, -2),
    lambda merge: merge.place.__setitem__(3, 2**40),
    lambda merge: merge.sources.__setitem__(0, 7),
])  # fmt: skip
def test_a_merge_that_stands_outside_of_its_sources_is_refused(
    path: Path, change: Callable[[Merge], object]
) -> None:
    """The kernel would read on from there."""
    state = replace(read_state_of(path), segments=[Segment(0, 10, 3, 1)], next_segment=2)
    merge = Merge.of(1, [0], purge=False)
    state.merges = [merge]
    with tampering(path, "meta") as transaction:
        transaction.put(STATE_KEY, state.pack())
    assert read_state_of(path).merges == [merge]
    change(merge)
    with tampering(path, "meta") as transaction:
        transaction.put(STATE_KEY, state.pack())
    with pytest.raises(CorruptIndexError, match="state"):
        streamlsh.writer(path)


def test_more_slots_than_there_are_blocks_for_are_refused_to_readers_and_writers(
    path: Path,
) -> None:
    """A commit would take memory by their number, and time."""
    slots = replace(read_state_of(path), slot_end=2**30)
    with tampering(path, "meta") as transaction:
        transaction.put(STATE_KEY, slots.pack())
    with pytest.raises(CorruptIndexError, match="count of slots"):
        streamlsh.writer(path)
    with streamlsh.open(path) as reader:
        for call in (reader.verify, lambda: len(reader)):
            with pytest.raises(CorruptIndexError, match="count of slots"):
                call()


def read_state_of(path: Path) -> State:
    with streamlsh.open(path) as reader:
        environment = reader._index.environment
        with environment.read() as transaction:
            return read_state(transaction, environment.database("meta"))


@pytest.mark.parametrize("change", [
    lambda r: r.__setitem__("dim", "8"),
    lambda r: r.__setitem__("dim", 9),
    lambda r: r.__setitem__("block_shift", 2**40),
    lambda r: r.__setitem__("family", "unheard of"),
    lambda r: r["parameters"].__setitem__("bits", None),
    lambda r: r.pop("metric"),
    lambda r: r.__setitem__("more", 1),
])  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused_though_its_digest_fits(
    path: Path, change: Callable[[Any], object]
) -> None:
    _record(path, "config", change)
    indexes.mend_digest(path)
    with pytest.raises(CorruptIndexError, match="cannot be used"):
        streamlsh.open(path)
