"""An index of three items, an empty one with its writer, and what every input error must say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import (
    InvalidInputError,
    StreamLSHError,
)
from tests.conftest import FAMILIES

DIM = 4


SAMPLE = np.random.default_rng(0).standard_normal((64, DIM))
GOOD = np.ones(DIM, np.float32)


@pytest.fixture(params=FAMILIES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of three items, of either family."""
    made = tmp_path / "index"
    streamlsh.create(made, dim=DIM, family=request.param, sample=SAMPLE)
    with streamlsh.writer(made) as writer:
        writer.upsert(list("abc"), SAMPLE[:3])
    return made


@pytest.fixture
def reader(path: Path) -> Iterator[streamlsh.Reader]:
    with streamlsh.open(path) as reader:
        yield reader


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An index without items."""
    streamlsh.create(tmp_path / "empty", dim=DIM)
    return tmp_path / "empty"


@pytest.fixture
def writer(empty: Path) -> Iterator[streamlsh.Writer]:
    """The writer of the empty index."""
    writer = streamlsh.writer(empty)
    yield writer
    writer.close()


def check(
    caught: pytest.ExceptionInfo[InvalidInputError], expected: str, received: str, row: int | None
) -> None:
    """An input error says what was expected, what came, and where, also in its message."""
    error = caught.value
    assert expected in str(error.expected)
    assert received in str(error.received)
    assert error.row == row
    assert str(error.expected) in str(error)
    assert str(error.received) in str(error)
    assert isinstance(error, StreamLSHError)
    assert isinstance(error, ValueError)
