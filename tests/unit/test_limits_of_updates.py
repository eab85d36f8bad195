"""What an update may hold: each limit has its error, with expected, received and the row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
    DimensionError,
    InvalidInputError,
    ItemIdError,
    NonFiniteVectorError,
    PositionError,
    StreamLSHError,
    TagsError,
    VersionError,
    ZeroVectorError,
)

DIM = 4
GOOD = np.ones(DIM, np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM)
    return tmp_path / "index"


@pytest.fixture
def writer(path: Path) -> Iterator[streamlsh.Writer]:
    writer = streamlsh.writer(path)
    yield writer
    writer.close()


def check(
    caught: pytest.ExceptionInfo[InvalidInputError], expected: str, received: str, row: int | None
) -> None:
    error = caught.value
    assert expected in str(error.expected)
    assert received in str(error.received)
    assert error.row == row
    assert str(error.expected) in str(error)
    assert str(error.received) in str(error)
    assert isinstance(error, StreamLSHError)
    assert isinstance(error, ValueError)


def nested(depth: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return {"deep": inner}


def bad_vector(value: float) -> NDArray[Any]:
    vector = GOOD.astype(np.float64)
    vector[2] = value
    return vector


VECTORS: list[tuple[Any, type[InvalidInputError], str, str]] = [
    (bad_vector(np.nan), NonFiniteVectorError, "finite", "nan at coordinate 2"),
    (bad_vector(np.inf), NonFiniteVectorError, "finite", "inf at coordinate 2"),
    (bad_vector(-np.inf), NonFiniteVectorError, "finite", "-inf at coordinate 2"),
    (bad_vector(1e39), NonFiniteVectorError, "float32", "inf at coordinate 2"),
    (np.zeros(DIM), ZeroVectorError, "a length from 1e-18 to 1e+18", "0"),
    (np.full(DIM, 4e-19), ZeroVectorError, "a length from 1e-18 to 1e+18", "8e-19"),
    (np.full(DIM, 6e17), ZeroVectorError, "a length from 1e-18 to 1e+18", "1.2e+18"),
    (np.full(DIM, 3e38), ZeroVectorError, "a length from 1e-18 to 1e+18", "6e+38"),
]


@pytest.mark.parametrize(("vector", "error", "expected", "received"), VECTORS)
def test_a_bad_vector_is_refused_with_its_row_and_nothing_is_staged(
    writer: streamlsh.Writer,
    vector: NDArray[Any],
    error: type[InvalidInputError],
    expected: str,
    received: str,
) -> None:
    with pytest.raises(error) as caught:
        writer.upsert(["a", "b", "c"], np.stack([GOOD, vector, GOOD]))
    check(caught, expected, received, 1)
    with pytest.raises(error) as caught:
        writer.stage([Upsert("a", GOOD), Delete("b"), Upsert("c", vector)])
    check(caught, expected, received, 2)
    with pytest.raises(error) as caught:
        streamlsh.validate_update(writer.config, Upsert("a", vector))
    assert writer.staged == 0
    assert writer.commit() == streamlsh.CommitResult(0)


@pytest.mark.parametrize("length", [1.01e-18, 1, 0.99e18])
def test_vectors_of_any_usable_length_are_found_by_their_direction(
    writer: streamlsh.Writer, path: Path, length: float
) -> None:
    rows = np.random.default_rng(0).standard_normal((9, DIM))
    rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
    writer.upsert([str(row) for row in range(9)], rows)
    writer.commit()
    with streamlsh.open(path) as reader:
        for row in range(9):
            hits = reader.search(rows[row], 1)
            assert hits.ids == [str(row)]
            assert hits.scores[0] == pytest.approx(1, abs=1e-6)
        reader.verify()


@pytest.mark.parametrize(
    ("vectors", "received"),
    [
        (np.ones((2, DIM + 1)), "(2, 5)"),
        (np.ones(DIM), "(4,)"),
        (np.ones((1, 2, DIM)), "(1, 2, 4)"),
        ([[1, 2, 3, 4], [1, 2]], "shape"),
        ([["a", "b", "c", "d"]] * 2, "dtype <U1"),
        (np.ones((2, DIM), bool), "dtype bool"),
        (np.ones((2, DIM), complex), "dtype complex128"),
        ([[None] * DIM] * 2, "dtype object"),
    ],
)
def test_what_is_no_array_of_vectors_is_refused(
    writer: streamlsh.Writer, vectors: Any, received: str
) -> None:
    with pytest.raises(DimensionError) as caught:
        writer.upsert(["a", "b"], vectors)
    check(caught, "shape (n, 4) of numbers", received, None)
    assert writer.staged == 0


@pytest.mark.parametrize("vector", [np.ones(3), np.ones((1, DIM)), 1.0, ["a"] * DIM, [[1], [1, 2]]])
def test_an_update_with_no_vector_of_the_dimension_is_refused_with_its_place(
    writer: streamlsh.Writer, vector: Any
) -> None:
    with pytest.raises(DimensionError) as caught:
        writer.stage([Upsert("a", GOOD), Upsert("b", vector)])
    assert caught.value.row == 1
    with pytest.raises(DimensionError):
        streamlsh.validate_update(writer.config, Upsert("b", vector))
    assert writer.staged == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.uint8, ">f4"])
def test_numbers_of_any_type_are_taken(writer: streamlsh.Writer, path: Path, dtype: Any) -> None:
    rows = np.array([[1, 2, 3, 4], [4, 3, 2, 1]])
    writer.upsert(["a", "b"], rows.astype(dtype))
    writer.upsert(["c", "d"], rows.astype(dtype)[:, ::-1])
    writer.commit()
    with streamlsh.open(path) as reader:
        found = [item.vector.tolist() for item in reader.items()]
        assert found == [*rows.tolist(), *rows[:, ::-1].tolist()]


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
    writer: streamlsh.Writer, path: Path, item_id: Any, received: str
) -> None:
    with streamlsh.open(path) as reader:
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
    writer: streamlsh.Writer, path: Path, item_id: str
) -> None:
    writer.upsert([item_id, "other"], np.stack([GOOD, -GOOD]))
    writer.commit()
    with streamlsh.open(path) as reader:
        assert item_id in reader
        item = reader.get(item_id)
        assert item is not None
        assert item.id == item_id
        assert reader.search(GOOD, 1).ids == [item_id]


def test_only_strings_can_be_in_an_index(path: Path) -> None:
    with streamlsh.open(path) as reader:
        assert 7 not in reader
        assert b"a" not in reader
        assert None not in reader


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


def test_versions_at_the_ends_of_the_range_are_stored(writer: streamlsh.Writer, path: Path) -> None:
    writer.upsert(
        ["low", "high"], [GOOD, GOOD], versions=list(np.array([MIN_VERSION, MAX_VERSION]))
    )
    writer.commit()
    with streamlsh.open(path) as reader:
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


def test_tags_are_kept_as_a_sorted_set(writer: streamlsh.Writer, path: Path) -> None:
    many = [str(number) for number in range(MAX_TAGS)]
    writer.upsert(
        list("abc"), [GOOD] * 3, tags=[["b", "é", "a", "b"], many * 2, None], attributes=[None] * 3
    )
    writer.commit()
    with streamlsh.open(path) as reader:
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


def test_attributes_come_back_as_they_were_given(writer: streamlsh.Writer, path: Path) -> None:
    given = [
        {"z": 1, "a": [1, 2.5, None, True, "é", {"deep": []}], "m": {"y": 1, "b": -(2**63)}},
        {},
        None,
        {"big": "x" * (MAX_ATTRIBUTE_BYTES - 20)},
        nested(MAX_ATTRIBUTE_DEPTH - 1),
    ]
    writer.upsert(list("abcde"), [GOOD] * 5, attributes=given)
    writer.commit()
    with streamlsh.open(path) as reader:
        assert [item.attributes for item in reader.items()] == given


@pytest.mark.parametrize(
    "lists",
    [
        {"ids": ["a"]},
        {"ids": "ab"},
        {"versions": [1]},
        {"tags": [[], [], []]},
        {"attributes": []},
        {"tags": "ab"},
    ],
)
def test_lists_that_do_not_match_the_vectors_are_refused(
    writer: streamlsh.Writer, lists: dict[str, Any]
) -> None:
    arguments: dict[str, Any] = {"ids": ["a", "b"], **lists}
    with pytest.raises(DimensionError) as caught:
        writer.upsert(vectors=[GOOD, GOOD], **arguments)
    name, values = next(iter(lists.items()))
    assert name in str(caught.value)
    check(caught, "a sequence of 2", "a string" if values == "ab" else str(len(values)), None)
    assert writer.staged == 0


@pytest.mark.parametrize("arguments", [{"ids": "ab"}, {"ids": ["a", "b"], "versions": [1]}])
def test_lists_of_a_delete_that_do_not_match_are_refused(
    writer: streamlsh.Writer, arguments: dict[str, Any]
) -> None:
    with pytest.raises(DimensionError) as caught:
        writer.delete(**arguments)
    assert "list of ids" in str(caught.value.expected)
    assert writer.staged == 0


POSITIONS: list[tuple[Any, str, str]] = [
    (Position("", 0, 0), "1 to 507 bytes", "0 bytes"),
    (Position("x" * 508, 0, 0), "1 to 507 bytes", "508 bytes"),
    (Position("\ud800", 0, 0), "1 to 507 bytes", "ud800"),
    (Position(7, 0, 0), "1 to 507 bytes", "7"),  # type: ignore[arg-type]
    (Position("t", -1, 0), "2^31", "-1"),
    (Position("t", 2**31, 0), "2^31", str(2**31)),
    (Position("t", 1.5, 0), "2^31", "1.5"),  # type: ignore[arg-type]
    (Position("t", 0, -1), "2^63", "-1"),
    (Position("t", 0, 2**63), "2^63", str(2**63)),
    (Position("t", 0, 0.5), "2^63", "0.5"),  # type: ignore[arg-type]
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
    writer: streamlsh.Writer, path: Path
) -> None:
    moves = [Position("x" * 507, 2**31 - 1, 2**63 - 1, "id"), Position("é", 0, 0)]
    writer.commit(moves)
    with streamlsh.open(path) as reader:
        assert set(reader.positions.values()) == set(moves)
