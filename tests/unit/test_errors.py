"""The tree of errors: every one can be caught by its root, and sent to another process."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from streamlsh import errors
from streamlsh.errors import (
    FencedError,
    IndexContentError,
    IndexPathError,
    InvalidInputError,
    MapLimitError,
    StreamLSHError,
    WriterLockedError,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
ERRORS = [kind for kind in KINDS if issubclass(kind, StreamLSHError)]


def example(kind: type[StreamLSHError]) -> StreamLSHError:
    if issubclass(kind, InvalidInputError):
        return kind("wrong", expected="this", received="that", row=3)
    if issubclass(kind, IndexPathError):
        return kind("wrong", path="/somewhere")
    if issubclass(kind, IndexContentError | FencedError):
        return kind("wrong", expected="this", received="that")
    if issubclass(kind, WriterLockedError):
        return kind("wrong", holder="pid 7")
    if issubclass(kind, MapLimitError):
        return kind("wrong", used=7, limit=5)
    return kind("wrong")


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_survives_the_way_to_another_process(kind: type[StreamLSHError]) -> None:
    error = example(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_has_its_place_in_the_tree_that_is_drawn(kind: type[StreamLSHError]) -> None:
    assert errors.__doc__ is not None
    assert f" {kind.__name__}" in errors.__doc__ or f"{kind.__name__}\n" in errors.__doc__
    assert kind.__doc__
