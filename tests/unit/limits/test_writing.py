"""Writers: there is one at a time, with a map and slots to write to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
    monkeypatch.setattr("streamlsh.commit.MAX_SLOTS", 5)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(list("def"), SAMPLE[3:6])
        with pytest.raises(SlotsExhaustedError, match="export, create, load"):
            writer.commit()
        assert (len(reader), reader.commit, writer.staged) == (3, 1, 3)
        writer.discard()
        writer.upsert(list("de"), SAMPLE[3:5])
        assert writer.commit().inserted == 2
        reader.verify()
