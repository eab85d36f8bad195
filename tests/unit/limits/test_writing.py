"""Writers: there is one at a time, with a map and slots to write to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import (
    InvalidInputError,
    SlotsExhaustedError,
    WriterLockedError,
)
from tests.unit.limits.conftest import SAMPLE


def test_a_second_writer_is_refused_and_the_first_goes_on(path: Path) -> None:
    with streamlsh.writer(path) as first:
        with pytest.raises(WriterLockedError, match="Stop the other one") as caught:
            streamlsh.writer(path)
        assert f"pid {os.getpid()}" in caught.value.holder
        first.upsert(["d"], SAMPLE[3:4])
        assert first.commit().inserted == 1
    with streamlsh.writer(path) as second:
        assert second.epoch == first.epoch + 1


@pytest.mark.parametrize("map_size", [0, -1, 1.5, "1", 1 << 48])
def test_a_writer_is_not_given_a_map_of_no_size(path: Path, map_size: Any) -> None:
    with pytest.raises(InvalidInputError, match="not a usable map_size") as caught:
        streamlsh.writer(path, map_size=map_size)
    assert caught.value.received == repr(map_size)
    with streamlsh.writer(path) as writer:
        assert writer.epoch == 2


@pytest.mark.parametrize("map_limit", [0, -0.1, 1.01, float("nan"), "0.5", True, None])
def test_a_writer_is_not_given_a_limit_that_is_no_share(path: Path, map_limit: Any) -> None:
    with pytest.raises(InvalidInputError, match="not a usable map_limit") as caught:
        streamlsh.writer(path, map_limit=map_limit)
    assert caught.value.received == repr(map_limit)
    with streamlsh.writer(path, map_limit=1) as writer:
        assert writer.epoch == 2


def test_a_map_never_shrinks(path: Path) -> None:
    with streamlsh.open(path) as reader:
        before = reader.info()["bytes"]["map"]
        with streamlsh.writer(path, map_size=4096) as writer:
            writer.upsert(["d"], SAMPLE[3:4])
        assert reader.info()["bytes"]["map"] == before
        assert len(reader) == 4


def test_when_all_slot_numbers_are_given_out_nothing_of_the_batch_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        room = reader.info()["rows"]["per_block"]
        monkeypatch.setattr("streamlsh.storage.giving.MAX_SLOTS", room)
        names = [f"new {number}" for number in range(room - 2)]
        vectors = np.random.default_rng(0).standard_normal((room - 2, SAMPLE.shape[1]))
        writer.upsert(names, vectors)
        with pytest.raises(SlotsExhaustedError, match="several indexes"):
            writer.commit()
        assert (len(reader), reader.commit, writer.staged) == (3, 1, room - 2)
        writer.discard()
        writer.upsert(names[1:], vectors[1:])
        assert writer.commit().inserted == room - 3
        reader.verify()
