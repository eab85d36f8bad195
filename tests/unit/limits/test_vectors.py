"""Vectors of updates: each limit has its error, with expected, received and the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh.errors import (
    DimensionError,
    InvalidInputError,
    NonFiniteVectorError,
    ZeroVectorError,
)
from tests.unit.limits.conftest import DIM, GOOD, check


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
    writer: streamlsh.Writer, empty: Path, length: float
) -> None:
    rows = np.random.default_rng(0).standard_normal((9, DIM))
    rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
    writer.upsert([str(row) for row in range(9)], rows)
    writer.commit()
    with streamlsh.open(empty) as reader:
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
def test_numbers_of_any_type_are_taken(writer: streamlsh.Writer, empty: Path, dtype: Any) -> None:
    rows = np.array([[1, 2, 3, 4], [4, 3, 2, 1]])
    writer.upsert(["a", "b"], rows.astype(dtype))
    writer.upsert(["c", "d"], rows.astype(dtype)[:, ::-1])
    writer.commit()
    with streamlsh.open(empty) as reader:
        found = [item.vector.tolist() for item in reader.items()]
        assert found == [*rows.tolist(), *rows[:, ::-1].tolist()]


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
