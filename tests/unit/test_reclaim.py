"""An index that is rewritten again and again stays about as large as a fresh one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh

DIM = 64
ITEMS = 3_000


@pytest.mark.parametrize("batch", [ITEMS, 1_000, 150])
@pytest.mark.parametrize("order", ["in order", "at random"])
def test_rows_and_entries_stay_bounded_under_churn(
    tmp_path: Path, batch: int, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every turn lets as many slots die as there are items; they are given again."""
    monkeypatch.setattr("streamlsh.storage.rows._BLOCK_BYTES", 1 << 15)
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", tables=2)
    rng = np.random.default_rng(0)
    ids = [f"{row}" for row in range(ITEMS)]
    stored, entries, sizes = [], [], []
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        for turn in range(8):
            names = rng.permutation(ids) if order == "at random" and turn else np.array(ids)
            for start in range(0, ITEMS, batch):
                part = list(map(str, names[start : start + batch]))
                writer.upsert(part, rng.standard_normal((len(part), DIM)))
                writer.commit()
            info = reader.info()
            stored.append(info["rows"]["slots"])
            sizes.append((path / "data.mdb").stat().st_size)
            entries.append(info["tail_entries"] + sum(s["entries"] for s in info["segments"]))
        report = reader.verify()
        assert report.items == ITEMS
        assert max(stored) <= 1.5 * ITEMS + 2 * batch
    assert stored[-1] <= 1.05 * stored[4], "the same turns again need no more slots"
    assert sizes[-1] <= 1.05 * sizes[4]
    assert max(entries) <= 2 * (ITEMS + 2 * batch) + 2 * 8192


def test_deleting_everything_gives_the_slots_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.storage.rows._BLOCK_BYTES", 1 << 15)
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM)
    rows = np.random.default_rng(0).standard_normal((ITEMS, DIM))
    ids = [f"{row}" for row in range(ITEMS)]
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(ids, rows)
        writer.commit()
        size = (path / "data.mdb").stat().st_size
        for _ in range(5):
            writer.delete(ids)
            writer.commit()
            assert reader.search(rows[0]).ids == []
            writer.upsert(ids, rows)
            writer.commit()
        assert reader.verify().items == ITEMS
        assert reader.info()["rows"]["slots"] <= 3 * ITEMS
        assert (path / "data.mdb").stat().st_size < 4 * size


def test_the_file_is_as_long_as_its_last_page_says(tmp_path: Path) -> None:
    """``open`` takes a shorter file for one that was cut, so no commit may leave one."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", tables=2)
    rng = np.random.default_rng(0)
    with streamlsh.writer(path) as writer:
        for _ in range(60):
            size = int(rng.integers(1, 300))
            names = [f"{row}" for row in rng.integers(0, 600, size)]
            writer.upsert(names, rng.standard_normal((size, DIM)))
            writer.delete(names[::3])
            writer.commit()
            used, _ = writer._index.environment.map_used()
            assert (path / "data.mdb").stat().st_size >= used


def test_large_commits_in_a_row_wait_for_slots_rather_than_to_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one leaves behind is free for the next but one: it finishes the purge between them."""
    monkeypatch.setattr("streamlsh.storage.rows._BLOCK_BYTES", 1 << 15)
    monkeypatch.setattr("streamlsh.buckets.tail.AT_ONCE", 1_000)
    monkeypatch.setattr("streamlsh.buckets.merging.LEAST", 100)
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", tables=2)
    rng = np.random.default_rng(0)
    ids = [f"{row}" for row in range(ITEMS)]
    batch = ITEMS // 5
    slots = []
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(ids, rng.standard_normal((ITEMS, DIM)))
        writer.commit()
        for _ in range(40):
            part = [str(name) for name in rng.permutation(ids)[:batch]]
            writer.upsert(part, rng.standard_normal((batch, DIM)))
            writer.commit()
            slots.append(reader.info()["rows"]["slots"])
        assert reader.verify().items == ITEMS
    assert max(slots) <= ITEMS + 2 * batch
