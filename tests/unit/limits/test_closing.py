"""What was closed says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamlsh
from streamlsh.errors import (
    ClosedError,
)
from tests.unit.limits.conftest import SAMPLE


def calls_of(source: streamlsh.Reader | streamlsh.Snapshot) -> list[Callable[[], Any]]:
    return [
        lambda: source.search(SAMPLE[0]),
        lambda: source.search(SAMPLE[0], probes=1),
        lambda: source.search_ids("a"),
        lambda: source.search_ids("unknown"),
        lambda: source.exact(SAMPLE[0]),
        lambda: source.get("a"),
        lambda: "a" in source,
        lambda: next(source.items()),
        source.digest,
        source.verify,
    ]


def test_a_closed_reader_says_so(path: Path) -> None:
    reader = streamlsh.open(path)
    listing = reader.items()
    reader.close()
    reader.close()
    calls: list[Callable[[], Any]] = [
        *calls_of(reader), lambda: len(reader), lambda: reader.commit, lambda: reader.positions,
        reader.info, lambda: next(listing), lambda: reader.snapshot().__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError, match="reader was closed"):
            call()


def test_a_closed_snapshot_says_so(reader: streamlsh.Reader) -> None:
    with reader.snapshot() as snapshot:
        listing = snapshot.items()
        next(listing)
    calls = calls_of(snapshot)
    calls.append(lambda: next(listing))
    for call in calls:
        with pytest.raises(ClosedError, match="snapshot was closed"):
            call()
    assert len(reader) == 3


def test_a_snapshot_outlives_its_reader_and_keeps_the_file_open(path: Path) -> None:
    reader = streamlsh.open(path)
    with reader.snapshot() as snapshot:
        reader.close()
        assert len(snapshot.search(SAMPLE[0]).ids) == 3
        with streamlsh.open(path) as other:
            assert len(other) == 3
        assert snapshot.get("a") is not None
        snapshot.verify()
    with streamlsh.open(path) as reader:
        assert len(reader) == 3


def test_a_closed_writer_says_so_and_drops_what_is_staged(path: Path) -> None:
    writer = streamlsh.writer(path)
    writer.upsert(["d"], SAMPLE[3:4])
    writer.close()
    writer.close()
    calls: list[Callable[[], Any]] = [
        lambda: writer.upsert(["d"], SAMPLE[3:4]),
        lambda: writer.delete(["a"]),
        lambda: writer.stage([]),
        writer.commit,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="writer was closed"):
            call()
    with streamlsh.open(path) as reader:
        assert len(reader) == 3
