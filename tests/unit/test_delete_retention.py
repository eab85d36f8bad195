"""The versions of deleted ids are remembered for a time, and then forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Upsert

RETENTION = 100.0
VECTOR = np.ones(4, np.float32)


class Clock:
    """What a commit is told the time is."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("streamlsh.applying.steady_time", clock.time)
    return clock


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[streamlsh.Writer]:
    streamlsh.create(tmp_path / "index", dim=4, delete_retention=RETENTION)
    with streamlsh.writer(tmp_path / "index") as writer:
        yield writer


@pytest.fixture
def reader(tmp_path: Path, writer: streamlsh.Writer) -> Iterator[streamlsh.Reader]:
    assert writer.config.delete_retention == RETENTION
    with streamlsh.open(tmp_path / "index") as reader:
        assert reader.info()["delete_retention_seconds"] == RETENTION
        yield reader


def commit(writer: streamlsh.Writer, *updates: Upsert | Delete) -> streamlsh.CommitResult:
    writer.stage(updates)
    return writer.commit()


def some_commit(writer: streamlsh.Writer) -> None:
    """Any commit clears what has expired."""
    commit(writer, Delete("nothing"))


def test_an_old_upsert_is_stale_while_the_delete_is_remembered_and_applies_after(
    clock: Clock, writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Upsert("a", VECTOR, 5))
    commit(writer, Delete("a", 6))
    clock.now += RETENTION
    some_commit(writer)
    assert reader.verify().markers == 1
    assert commit(writer, Upsert("a", VECTOR, 5)).stale == 1
    clock.now += 1
    some_commit(writer)
    assert reader.verify().markers == 0
    assert commit(writer, Upsert("a", VECTOR, 5)).inserted == 1
    item = reader.get("a")
    assert item is not None
    assert item.version == 5


def test_a_delete_is_remembered_from_the_last_one_with_a_higher_version(
    clock: Clock, writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Delete("a", 6), Delete("b", 6))
    clock.now += RETENTION - 1
    assert commit(writer, Delete("a", 8), Delete("b", 6)).stale == 1
    clock.now += 2
    some_commit(writer)
    assert reader.verify().markers == 1
    assert commit(writer, Upsert("a", VECTOR, 7)).stale == 1
    assert commit(writer, Upsert("b", VECTOR, 1)).inserted == 1
    clock.now += RETENTION
    some_commit(writer)
    assert reader.verify().markers == 0


def test_an_item_that_came_back_outlives_the_marker_of_its_delete(
    clock: Clock, writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Delete("a", 6), Delete("b", 6))
    commit(writer, Upsert("a", VECTOR, 7))
    clock.now += RETENTION + 1
    commit(writer, Upsert("b", VECTOR, 9))  # in the very commit that forgets it
    some_commit(writer)
    report = reader.verify()
    assert (report.items, report.markers) == (2, 0)
    assert [(item.id, item.version) for item in reader.items()] == [("a", 7), ("b", 9)]


def test_many_deletes_are_forgotten_as_commits_come(
    clock: Clock, writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    for number in range(12):
        clock.now += 1
        commit(writer, *(Delete(f"{number}-{item}", 1) for item in range(5)))
    assert reader.verify().markers == 60
    clock.now += RETENTION + 1
    before = 60
    while before:
        some_commit(writer)
        markers = reader.verify().markers
        assert markers < before, "a commit forgot nothing"
        before = markers
    with reader.snapshot() as snapshot:
        index = snapshot._index
        kept = snapshot._transaction.stat(index.environment.database("expiry"))["entries"]
    assert kept == 0


def test_what_never_had_a_version_leaves_nothing_behind(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Upsert("a", VECTOR))
    commit(writer, Delete("a"), Delete("b"))
    assert reader.verify().markers == 0


def test_a_clock_that_goes_back_forgets_nothing_early(
    clock: Clock, writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Delete("a", 6))
    clock.now -= 5_000
    some_commit(writer)
    assert commit(writer, Upsert("a", VECTOR, 5)).stale == 1
    assert reader.verify().markers == 1
