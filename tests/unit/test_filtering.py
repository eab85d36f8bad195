"""What may be asked for as a filter, and what is refused."""

from __future__ import annotations

from itertools import count, repeat
from typing import Any

import numpy as np
import pytest

from streamlsh.config import MAX_FILTER_ALTERNATIVES, MAX_FILTER_ELEMENTS, MAX_TAG_BYTES
from streamlsh.errors import InvalidInputError, TagsError
from streamlsh.filtering import parse_filter

MANY = [str(number) for number in range(65)]

REFUSED: list[tuple[Any, str]] = [
    ("in-stock", "str"),
    (b"in-stock", "bytes"),
    ({"a": 1}, "dict"),
    (None, "NoneType"),
    (7, "int"),
    ([7], "int"),
    ([None], "NoneType"),
    ([b"a"], "bytes"),
    ([{"a": 1}], "dict"),
    ([["a", 7]], "int"),
    ([["a", ["b"]]], "list"),
    ([()], r"\(\)"),
    ([""], "0 bytes"),
    ([["a", ""]], "0 bytes"),
    (["x" * (MAX_TAG_BYTES + 1)], "129 bytes"),
    (["line\nbreak"], "10 bytes"),
    (["\ud800"], "3 bytes"),
    (MANY, "more than 64"),
    ([MANY], "more than 64"),
    (map(str, count()), "more than 64"),
    ([repeat("a")], "more than 64"),
]


@pytest.mark.parametrize(("tags", "received"), REFUSED)
def test_what_is_no_filter_is_refused(tags: Any, received: str) -> None:
    with pytest.raises(TagsError, match=f"received {received}") as caught:
        parse_filter(tags)
    assert isinstance(caught.value, InvalidInputError)
    assert "at most 64 elements" in str(caught.value.expected)


@pytest.mark.parametrize(
    "tags",
    [
        ["a", ("b", "c")],
        (("c", "b"), "a"),
        [["a"], {"b", "c"}, "a", frozenset("cb")],
        iter(["a", iter(["c", "b", "b"])]),
        ["a", np.array(["b", "c"])],
    ],
)
def test_a_filter_is_the_same_however_it_is_written(tags: Any) -> None:
    wanted = parse_filter(tags)
    assert wanted.elements == ((b"a",), (b"b", b"c"))
    assert wanted == parse_filter([["b", "c"], "a"])
    assert hash(wanted) == hash(parse_filter([["b", "c"], "a"]))


def test_as_many_elements_and_alternatives_as_allowed_are_taken() -> None:
    assert len(parse_filter(MANY[:MAX_FILTER_ELEMENTS]).elements) == 64
    assert len(parse_filter([MANY[:MAX_FILTER_ALTERNATIVES]]).elements[0]) == 64


@pytest.mark.parametrize("nothing", [(), [], set(), iter(())])
def test_no_element_is_no_filter(nothing: Any) -> None:
    assert not parse_filter(nothing)
    assert parse_filter(["a"])
