"""More slots than one page of the live bitmap covers, seen by a reader that stays open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.storage.schema import LIVE_PAGE_SLOTS
from tests.conftest import FAMILIES

DIM = 8
ITEMS = 12_000


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reader_follows_every_page_of_the_live_bitmap(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.planning.EXACT_DIM", 0)
    path = tmp_path / "index"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ITEMS, DIM), dtype=np.float32)
    streamlsh.create(path, dim=DIM, family=family, sample=rows[:500])
    ids = np.array([f"item-{row:05}" for row in range(ITEMS)])
    queries = rng.standard_normal((4, DIM), dtype=np.float32)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        current = rows.copy()
        alive = np.ones(ITEMS, np.bool_)
        writer.upsert(list(ids), current)
        for share in (0.0, 0.6, 0.02, 0.4, 0.001):
            changed = rng.random(ITEMS) < share
            current[changed] = rng.standard_normal((int(changed.sum()), DIM))
            writer.upsert(list(ids[changed]), current[changed])
            alive |= changed
            gone = rng.random(ITEMS) < share / 4
            writer.delete(list(ids[gone]))
            alive &= ~gone
            writer.commit()
            assert len(reader) == alive.sum()
            cosines = queries @ current.T / np.linalg.norm(current, axis=1)
            cosines[:, ~alive] = -np.inf
            best = np.argsort(-cosines, axis=1)[:, :5]
            assert reader.exact(queries, 5).ids == ids[best].tolist()
            found = reader.search(queries, 5)
            assert found.plan.route == "scan"
            assert np.mean([len(set(one) & set(two)) for one, two in
                            zip(found.ids, ids[best].tolist(), strict=True)]) >= 4  # fmt: skip
        assert reader.info()["rows"]["slots"] > LIVE_PAGE_SLOTS
        assert reader.verify().items == alive.sum()
