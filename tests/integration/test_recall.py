"""Answers on real embeddings, measured against an exact scan of the same snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamlsh
from streamlsh.datasets import Glosses
from streamlsh.evaluation import recall_at_k
from tests.conftest import FAMILIES

HELD_OUT = 300


def indexed(path: Path, family: str, sample: Glosses) -> Path:
    """All glosses but the held-out ones, in an index trained on half of them."""
    streamlsh.create(path, dim=384, family=family, sample=sample.vectors[:2_400])
    with streamlsh.writer(path) as writer:
        writer.upsert(sample.ids[:-HELD_OUT], sample.vectors[:-HELD_OUT])
    return path


def recall(
    reader: streamlsh.Reader, sample: Glosses, probes: int | None
) -> tuple[float, streamlsh.Plan]:
    queries = sample.vectors[-HELD_OUT:]
    exact = reader.exact(queries, 20)
    hits = reader.search(queries, 10, probes=probes)
    return recall_at_k(hits.ids, exact.ids, exact.scores), hits.plan


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scan_of_all_sketches_misses_next_to_nothing(
    family: str, sample: Glosses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.families.voronoi.SCAN_BELOW", 20_000)
    with streamlsh.open(indexed(tmp_path / "index", family, sample)) as reader:
        found, plan = recall(reader, sample, None)
    assert plan.route == "scan"
    assert found >= 0.97


def test_voronoi_tables_find_nine_of_ten_at_the_default_probes(
    sample: Glosses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.families.voronoi.SCAN_BELOW", 0)
    monkeypatch.setattr("streamlsh.planning.SCAN_UNCALIBRATED", 0)
    with streamlsh.open(indexed(tmp_path / "index", "voronoi", sample)) as reader:
        found, plan = recall(reader, sample, None)
    assert plan.route == "tables"
    assert plan.share < 0.5, "looked at half of the items"
    assert found >= 0.9


def test_hyperplane_tables_find_more_the_more_they_probe(sample: Glosses, tmp_path: Path) -> None:
    with streamlsh.open(indexed(tmp_path / "index", "hyperplane", sample)) as reader:
        steps = [recall(reader, sample, probes) for probes in (64, 512, 4096)]
    assert [plan.route for _, plan in steps] == ["tables"] * 3
    found = [share for share, _ in steps]
    assert found == sorted(found)
    assert found[-1] >= 0.9
