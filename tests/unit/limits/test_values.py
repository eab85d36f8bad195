"""Ids, versions, tags, attributes and positions: each limit has its error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Position, Upsert
from streamlsh.config import (
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTE_DEPTH,
    MAX_ID_BYTES,
    MAX_TAG_BYTES,
    MAX_TAGS,
    MAX_VERSION,
    MIN_VERSION,
)
from streamlsh.errors import (
    AttributesError,
    ItemIdError,
    PositionError,
    TagsError,
    VersionError,
)
from tests.unit.limits.conftest import GOOD, check


def nested(depth: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return {"deep": inner}


LENGTH = f"a string of 1 to {MAX_ID_BYTES} bytes of UTF-8"


IDS: list[tuple[Any, str]] = [
    ("", "0 bytes"),
    ("x" * (MAX_ID_BYTES + 1), "512 bytes"),
    ("é" * 256, "512 bytes"),
    (7, "int"),
    (b"bytes", "bytes"),
    (None, "NoneType"),
    ("\ud800", r"\ud800"),
]


@pytest.mark.parametrize(("item_id", "received"), IDS)
def test_a_bad_id_is_refused_wherever_it_is_given(
    writer: streamlsh.Writer, empty: Path, item_id: Any, received: str
) -> None:
    with streamlsh.open(empty) as reader:
        calls: list[tuple[int | None, Callable[[], Any]]] = [
            (1, lambda: writer.upsert(["a", item_id], np.stack([GOOD, GOOD]))),
            (1, lambda: writer.delete(["a", item_id])),
            (1, lambda: writer.stage([Delete("a"), Delete(item_id)])),
            (0, lambda: writer.stage([Upsert(item_id, GOOD)])),
            (None, lambda: streamlsh.validate_update(writer.config, Delete(item_id))),
            (None, lambda: reader.get(item_id)),
            (None, lambda: reader.search(GOOD, exclude=[item_id])),
            (None, lambda: reader.exact(GOOD, exclude=[item_id])),
            (None, lambda: reader.search_ids([item_id])),
        ]
        for row, call in calls:
            with pytest.raises(ItemIdError) as caught:
                call()
            check(caught, LENGTH, received, row)
    assert writer.staged == 0


@pytest.mark.parametrize("item_id", ["x", "x" * MAX_ID_BYTES, "é" * 255, "\0", "日本", "a\nb"])
def test_ids_up_to_the_limit_are_stored_and_found(
    writer: streamlsh.Writer, empty: Path, item_id: str
) -> None:
    writer.upsert([item_id, "other"], np.stack([GOOD, -GOOD]))
    writer.commit()
    with streamlsh.open(empty) as reader:
        assert item_id in reader
        item = reader.get(item_id)
        assert item is not None
        assert item.id == item_id
        assert reader.search(GOOD, 1).ids == [item_id]


def test_only_strings_can_be_in_an_index(empty: Path) -> None:
    with streamlsh.open(empty) as reader:
        assert 7 not in reader
        assert b"a" not in reader
        assert None not in reader
        for name in ("", "x" * (MAX_ID_BYTES + 1), "\ud800"):
            assert name not in reader


@pytest.mark.parametrize(
    "version", [MIN_VERSION - 1, MAX_VERSION + 1, 1.0, "1", True, np.float64(3), np.bool_(True)]
)
def test_a_version_outside_64_bits_is_refused(writer: streamlsh.Writer, version: Any) -> None:
    calls: list[tuple[int | None, Callable[[], Any]]] = [
        (1, lambda: writer.upsert(["a", "b"], [GOOD, GOOD], versions=[1, version])),
        (1, lambda: writer.delete(["a", "b"], versions=[None, version])),
        (0, lambda: writer.stage([Upsert("a", GOOD, version)])),
        (None, lambda: streamlsh.validate_update(writer.config, Delete("a", version))),
    ]
    for row, call in calls:
        with pytest.raises(VersionError) as caught:
            call()
        check(caught, f"an integer from {MIN_VERSION} to {MAX_VERSION}", repr(version), row)
    assert writer.staged == 0


def test_versions_at_the_ends_of_the_range_are_stored(
    writer: streamlsh.Writer, empty: Path
) -> None:
    writer.upsert(
        ["low", "high"], [GOOD, GOOD], versions=list(np.array([MIN_VERSION, MAX_VERSION]))
    )
    writer.commit()
    with streamlsh.open(empty) as reader:
        assert [item.version for item in reader.items()] == [MAX_VERSION, MIN_VERSION]


TAGS: list[tuple[Any, str]] = [
    ("string", "str"),
    (b"bytes", "bytes"),
    ({"a": 1}, "dict"),
    (7, "int"),
    ([7], "int"),
    ([""], "0 bytes"),
    (["x" * (MAX_TAG_BYTES + 1)], "129 bytes"),
    (["é" * 65], "130 bytes"),
    (["line\nbreak"], "bytes"),
    (["\ud800"], "bytes"),
    ([str(number) for number in range(MAX_TAGS + 1)], "65"),
]


@pytest.mark.parametrize(("tags", "received"), TAGS)
def test_bad_tags_are_refused(writer: streamlsh.Writer, tags: Any, received: str) -> None:
    with pytest.raises(TagsError) as caught:
        writer.upsert(["a", "b"], [GOOD, GOOD], tags=[["fine"], tags])
    check(caught, f"at most {MAX_TAGS} strings of 1 to {MAX_TAG_BYTES} bytes", received, 1)
    with pytest.raises(TagsError):
        writer.stage([Upsert("a", GOOD, tags=tags)])
    with pytest.raises(TagsError):
        streamlsh.validate_update(writer.config, Upsert("a", GOOD, tags=tags))
    assert writer.staged == 0


def test_tags_are_kept_as_a_sorted_set(writer: streamlsh.Writer, empty: Path) -> None:
    many = [str(number) for number in range(MAX_TAGS)]
    writer.upsert(
        list("abc"), [GOOD] * 3, tags=[["b", "é", "a", "b"], many * 2, None], attributes=[None] * 3
    )
    writer.commit()
    with streamlsh.open(empty) as reader:
        assert [item.tags for item in reader.items()] == [
            ("a", "b", "é"), tuple(sorted(many)), (),
        ]  # fmt: skip


ATTRIBUTES: list[tuple[Any, str]] = [
    (["a list"], "list"),
    ("string", "str"),
    ({1: "a"}, "dict"),
    ({"a": b"bytes"}, "bytes"),
    ({"a": {1: 2}}, "{1: 2}"),
    ({"a": float("nan")}, "nan"),
    ({"a": [1, float("inf")]}, "inf"),
    ({"a": {1, 2}}, "{1, 2}"),
    ({"a": object()}, "object"),
    ({"a": np.float32(1)}, "1.0"),
    ({"a": 2**64}, ""),
    ({"a": "\ud800"}, ""),
    ({"\ud800": 1}, ""),
    ({"a": "x" * MAX_ATTRIBUTE_BYTES}, "bytes"),
    (nested(MAX_ATTRIBUTE_DEPTH + 1), "deep"),
    (nested(600), "deep"),
    (nested(20_000), "deep"),
]


@pytest.mark.parametrize(("attributes", "received"), ATTRIBUTES)
def test_attributes_that_json_cannot_say_are_refused(
    writer: streamlsh.Writer, attributes: Any, received: str
) -> None:
    with pytest.raises(AttributesError) as caught:
        writer.upsert(["a", "b"], [GOOD, GOOD], attributes=[None, attributes])
    check(
        caught, f"at most {MAX_ATTRIBUTE_BYTES} bytes packed", received, 1
    )  # fmt: skip
    with pytest.raises(AttributesError):
        writer.stage([Upsert("a", GOOD, attributes=attributes)])
    with pytest.raises(AttributesError):
        streamlsh.validate_update(writer.config, Upsert("a", GOOD, attributes=attributes))
    assert writer.staged == 0


def test_attributes_come_back_as_they_were_given(writer: streamlsh.Writer, empty: Path) -> None:
    given = [
        {"z": 1, "a": [1, 2.5, None, True, "é", {"deep": []}], "m": {"y": 1, "b": -(2**63)}},
        {},
        None,
        {"big": "x" * (MAX_ATTRIBUTE_BYTES - 20)},
        nested(MAX_ATTRIBUTE_DEPTH - 1),
    ]
    writer.upsert(list("abcde"), [GOOD] * 5, attributes=given)
    writer.commit()
    with streamlsh.open(empty) as reader:
        assert [item.attributes for item in reader.items()] == given


POSITIONS: list[tuple[Any, str, str]] = [
    (Position("", 0, 0), "1 to 507 bytes", "0 bytes"),
    (Position("x" * 508, 0, 0), "1 to 507 bytes", "508 bytes"),
    (Position("\ud800", 0, 0), "1 to 507 bytes", "ud800"),
    (Position(7, 0, 0), "1 to 507 bytes", "7"),  # type: ignore[arg-type]
    (Position("t", 0, 0, "x" * 508), "0 to 507 bytes", "508 bytes"),
    (Position("t", 0, 0, "\ud800"), "0 to 507 bytes", "ud800"),
    (Position("t", 0, 0, None), "0 to 507 bytes", "None"),  # type: ignore[arg-type]
    (Position("t", -1, 0), "2^31", "-1"),
    (Position("t", 2**31, 0), "2^31", str(2**31)),
    (Position("t", 1.5, 0), "2^31", "1.5"),  # type: ignore[arg-type]
    (Position("t", 0, -1), "2^63", "-1"),
    (Position("t", 0, 2**63), "2^63", str(2**63)),
    (Position("t", 0, 0.5), "2^63", "0.5"),  # type: ignore[arg-type]
    (Position("t", 0, 0, "", -1), "2^31", "-1"),
    (Position("t", 0, 0, "", 2**31), "2^31", str(2**31)),
    (Position("t", 0, 0, "", True), "2^31", "True"),
]


@pytest.mark.parametrize(("position", "expected", "received"), POSITIONS)
def test_a_position_that_cannot_be_stored_is_refused_and_the_batch_stays_staged(
    writer: streamlsh.Writer, position: Position, expected: str, received: str
) -> None:
    writer.upsert(["a"], [GOOD])
    with pytest.raises(PositionError) as caught:
        writer.commit([Position("t", 0, 5), position])
    check(caught, expected, received, None)
    assert writer.staged == 1
    assert dict(writer.positions) == {}
    assert writer.commit().inserted == 1


def test_positions_at_the_ends_of_their_ranges_are_stored(
    writer: streamlsh.Writer, empty: Path
) -> None:
    moves = [Position("x" * 507, 2**31 - 1, 2**63 - 1, "id"), Position("é", 0, 0)]
    writer.commit(moves)
    with streamlsh.open(empty) as reader:
        assert set(reader.positions.values()) == set(moves)
