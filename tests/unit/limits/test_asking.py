"""Queries: each option and vector out of its range has its error, with expected and received."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh.config import MAX_K
from streamlsh.errors import (
    DimensionError,
    InvalidInputError,
    ItemIdError,
    NonFiniteVectorError,
    ZeroVectorError,
)
from tests.unit.limits.conftest import DIM, SAMPLE

QUERY: list[tuple[dict[str, Any], str]] = [
    *(({"k": k}, f"1 to {MAX_K}") for k in (0, -1, MAX_K + 1, 1.0, "1", True, None)),
    *(({"probes": probes}, "1 to ") for probes in (0, -1, 1 << 30, 2.0, "2", True)),
    *(({"rerank": rerank}, "1 to 1000000") for rerank in (0, -1, 1_000_001, 2.0, "2", True)),
    *(({"match": match}, "'any', 'all' or") for match in (0, -1, 99, 1.0, "some", True, None)),
]


@pytest.mark.parametrize(("arguments", "expected"), QUERY)
def test_an_option_of_a_query_out_of_its_range_is_refused(
    reader: streamlsh.Reader, arguments: dict[str, Any], expected: str
) -> None:
    name, value = next(iter(arguments.items()))
    calls: list[Callable[[], Any]] = [
        lambda: reader.search(SAMPLE[0], **arguments),
        lambda: reader.search_ids("a", **arguments),
        lambda: reader.search(SAMPLE[:2], **arguments),
    ]
    if name == "k":
        calls.append(lambda: reader.exact(SAMPLE[0], **arguments))
        calls.append(lambda: reader.search_ids("unknown", **arguments))
    for call in calls:
        with pytest.raises(InvalidInputError, match=f"{name} is out of range") as caught:
            call()
        assert expected in str(caught.value.expected)
        assert caught.value.received == repr(value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 1},
        {"k": MAX_K},
        {"k": np.int64(2)},
        {"probes": 1},
        {"probes": np.int32(1)},
        {"rerank": 1},
        {"rerank": 1_000_000},
        {"match": 1},
        {"match": np.uint8(1)},
    ],
)
def test_options_at_the_ends_of_their_ranges_are_taken(
    reader: streamlsh.Reader, arguments: dict[str, Any]
) -> None:
    hits = reader.search(SAMPLE[0], **arguments)
    assert hits.ids[0] == "a"
    assert len(hits.ids) == min(3, int(arguments.get("k", 10)))


BAD_QUERIES: list[tuple[Any, type[InvalidInputError]]] = [
    (np.ones(DIM + 1), DimensionError),
    (np.ones((1, 1, DIM)), DimensionError),
    (1.0, DimensionError),
    ([[1, 2, 3, 4], [1]], DimensionError),
    (["a"] * DIM, DimensionError),
    (np.zeros(DIM), ZeroVectorError),
    (np.full(DIM, np.nan), NonFiniteVectorError),
    (np.full(DIM, 1e300), NonFiniteVectorError),
]  # fmt: skip


@pytest.mark.parametrize(("query", "error"), BAD_QUERIES)
def test_a_vector_that_cannot_be_asked_for_is_refused(
    reader: streamlsh.Reader, query: Any, error: type[InvalidInputError]
) -> None:
    for ask in (reader.search, reader.exact):
        with pytest.raises(error):
            ask(query)


def test_a_string_is_no_list_of_ids_to_exclude(reader: streamlsh.Reader) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: reader.search(SAMPLE[0], exclude="ab"),
        lambda: reader.exact(SAMPLE[0], exclude="ab"),
        lambda: reader.search_ids("a", exclude="ab"),
        lambda: reader.search_ids("unknown", exclude="ab"),
    ]
    for call in calls:
        with pytest.raises(ItemIdError, match="no list of ids"):
            call()
