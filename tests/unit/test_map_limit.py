"""A limit on map use stops upserts, and nothing else, while there is room left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh import Position
from streamlsh.errors import MapFullError, MapLimitError
from streamlsh.limiting import check_limit
from streamlsh.storage.pages import PAGE_BYTES
from streamlsh.storage.soundness import pinned_pages
from streamlsh.storage.walking import Walk
from tests.integration.processes import start

DIM = 64
BATCH = 100
MAP = 4 << 20
LIMIT = 0.6


def ids_of(number: int) -> list[str]:
    return [f"{number}-{row}" for row in range(BATCH)]


def rows_of(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).standard_normal((BATCH, DIM), dtype=np.float32)


def fill(writer: streamlsh.Writer) -> MapLimitError:
    """Insert batches, each with its position, until the limit is met: what is said then."""
    for number in range(writer.commit_number, writer.commit_number + 100):
        writer.upsert(ids_of(number), rows_of(number))
        try:
            writer.commit([Position("t", 0, number + 1)])
        except MapLimitError as error:
            return error
    raise AssertionError("the limit was never met")


def replace_until_refused(writer: streamlsh.Writer, turns: int) -> MapLimitError | None:
    """Replace the same items again and again: what is said when that is refused, if it is."""
    for turn in range(turns):
        writer.upsert(ids_of(0), rows_of(turn))
        try:
            writer.commit()
        except MapLimitError as error:
            return error
    return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM, family="hyperplane", tables=2, map_size=MAP)
    return tmp_path / "index"


@pytest.fixture
def writer(path: Path) -> Iterator[streamlsh.Writer]:
    writer = streamlsh.writer(path, map_limit=LIMIT)
    yield writer
    writer.close()


def test_at_the_limit_the_last_commit_stands_and_what_is_staged_is_kept(
    path: Path, writer: streamlsh.Writer
) -> None:
    with streamlsh.open(path) as reader:
        error = fill(writer)
        stands = writer.commit_number
        assert stands > 1
        assert error.limit == int(LIMIT * MAP)
        assert error.limit < error.used <= reader.info()["bytes"]["file"] < MAP
        for said in (f"{error.used:,}", f"{error.limit:,}", "map_size", "map_limit", "delete"):
            assert said in str(error)
        assert not isinstance(error, MapFullError)
        with pytest.raises(MapLimitError):
            writer.commit([Position("t", 0, stands + 1)])
        assert writer.staged == BATCH
        assert writer.positions["t", 0].offset == stands
        assert (reader.commit, len(reader)) == (stands, stands * BATCH)
        assert reader.search(rows_of(0)[7], 1).ids[0] == "0-7"
        reader.verify()


def test_deletes_positions_and_sweeps_go_on_at_the_limit(
    path: Path, writer: streamlsh.Writer
) -> None:
    with streamlsh.open(path) as reader:
        fill(writer)
        writer.discard()
        items = len(reader)
        writer.commit([Position("t", 0, 1000)], caught_up=1.0)
        assert reader.positions["t", 0].offset == 1000
        writer.delete(ids_of(0))
        assert writer.commit().deleted == BATCH
        writer.begin_sweep()
        writer.mark_seen(ids_of(1))
        assert writer.end_sweep() == items - 2 * BATCH
        assert len(reader) == BATCH
        reader.verify()


def test_what_was_refused_is_committed_once_deletes_have_given_space_back(
    path: Path, writer: streamlsh.Writer
) -> None:
    fill(writer)
    with streamlsh.open(path) as reader:
        items, refused = len(reader), writer.commit_number
        writer.discard()
        writer.delete([name for number in range(refused - 1) for name in ids_of(number)])
        writer.commit()
        writer.upsert(ids_of(refused), rows_of(refused))
        assert writer.commit().inserted == BATCH
        assert len(reader) == items - (refused - 1) * BATCH + BATCH
        reader.verify()


@pytest.mark.parametrize("larger", [{"map_limit": 0.9}, {"map_size": 2 * MAP, "map_limit": LIMIT}])
def test_a_larger_limit_or_map_goes_on(
    path: Path, writer: streamlsh.Writer, larger: dict[str, float]
) -> None:
    fill(writer)
    refused = writer.commit_number
    writer.close()
    with streamlsh.writer(path, **larger) as again:  # type: ignore[arg-type]
        again.upsert(ids_of(refused), rows_of(refused))
        assert again.commit().inserted == BATCH
        fill(again)
        again.discard()


def test_with_a_limit_of_one_the_map_itself_is_the_limit(path: Path) -> None:
    with streamlsh.writer(path, map_limit=1) as writer:
        with pytest.raises(MapFullError):
            fill(writer)
        writer.discard()


def test_pages_that_can_be_used_again_do_not_count(path: Path, writer: streamlsh.Writer) -> None:
    """The file grows over the limit while a snapshot is open, and never shrinks."""
    with streamlsh.open(path) as reader:
        with reader.snapshot():
            assert replace_until_refused(writer, 100)
        assert reader.info()["bytes"]["file"] > LIMIT * MAP
        assert replace_until_refused(writer, 30) is None
        assert reader.info()["bytes"]["file"] > LIMIT * MAP
        reader.verify()


def test_what_the_newest_commit_has_freed_counts_unless_an_open_snapshot_needs_it(
    path: Path, writer: streamlsh.Writer
) -> None:
    environment = writer._index.environment
    meta = environment.database("meta")
    with streamlsh.open(path) as reader:
        with environment.write() as transaction:
            transaction.put(b"ballast", bytes(int(LIMIT * MAP)), db=meta)
        with reader.snapshot():
            with environment.write() as transaction:
                transaction.delete(b"ballast", db=meta)
            with pytest.raises(MapLimitError, match="old snapshots"):
                check_limit(environment, LIMIT)
        check_limit(environment, LIMIT)


def test_a_snapshot_that_keeps_space_is_named_and_its_end_lets_upserts_go_on(
    path: Path, writer: streamlsh.Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the limit itself frees the slots of the dead.
    monkeypatch.setattr("streamlsh.writing.READER_CHECK_COMMITS", 1 << 30)
    writer.upsert(ids_of(0), rows_of(0))
    writer.commit()
    pinning = start("pinning", path)
    try:
        assert pinning.stdout is not None
        assert pinning.stdout.readline() == "pinned\n"
        error = replace_until_refused(writer, 100)
        assert error is not None
        assert f"kept open by PID {pinning.pid} on host {os.uname().nodename} (" in str(error)
        assert "outdated for" in str(error)
        assert "tests.integration.pinning" in str(error)
        assert writer.staged == BATCH
    finally:
        pinning.kill()  # so its slot stays, until somebody clears it
        pinning.communicate(timeout=60)
    assert writer.commit().replaced == BATCH
    assert replace_until_refused(writer, 20) is None


def test_only_snapshots_that_are_outdated_are_named(path: Path, writer: streamlsh.Writer) -> None:
    assert "old snapshots" not in str(fill(writer))
    with streamlsh.open(path) as reader, reader.snapshot():
        with pytest.raises(MapLimitError) as caught:
            writer.commit()
        assert "old snapshots" not in str(caught.value)
        writer.begin_sweep()
        with pytest.raises(MapLimitError, match=f"old snapshots: .* PID {os.getpid()} "):
            writer.commit()


def test_free_pages_are_counted_as_the_free_list_has_them(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=2, map_size=1 << 26, sync=False) as handle:
        values = handle.open_db(b"values")
        with handle.begin(), pinned_pages(tmp_path, handle) as (pages, meta, _):
            assert sum(Walk(pages, meta, deep=False).freed_pages(meta.transaction)) == 0
        with handle.begin():  # so that each transaction leaves its own pages
            for turn in range(40):
                with handle.begin(write=True) as transaction:
                    for key in range(turn % 7, 60, 2):
                        transaction.put(b"%d" % key, bytes(1000 * (turn + 1)), db=values)
            with handle.begin(write=True) as transaction:
                transaction.drop(values, delete=False)
        with pinned_pages(tmp_path, handle) as (pages, meta, _):
            walk = Walk(pages, meta, deep=True)
            walk.free_list()
            held = [len(free) for free in walk._free]
            assert list(walk.freed_pages(meta.transaction + 1)) == held
            assert len(held) > 40
            # Some fit into a leaf of the free list, and some have pages of their own.
            assert 8 * max(held) > PAGE_BYTES > 8 * min(held)
            assert list(walk.freed_pages(meta.transaction)) == held[:-1]
            assert list(walk.freed_pages(0)) == []
