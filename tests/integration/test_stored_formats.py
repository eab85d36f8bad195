"""Index files of every format so far open, answer as they did, and can be written to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh import Upsert
from streamlsh.storage.schema import FORMAT_VERSION

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = [(path.parents[1], path.parent.name) for path in sorted(FIXTURES.glob("*/*/data.mdb"))]


def test_there_is_a_file_of_the_current_format() -> None:
    assert f"format-{FORMAT_VERSION}" in [folder.name for folder, _ in FILES]
    assert {"hyperplane", "voronoi"} <= {name for _, name in FILES}
    for folder, name in FILES:
        assert (folder / name / "data.mdb").stat().st_size < 300_000


@pytest.fixture(params=FILES, ids=lambda file: f"{file[0].name}-{file[1]}")
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a stored index, and what is expected of it."""
    folder, name = request.param
    copy = tmp_path / "index"
    copy.mkdir()
    shutil.copy(folder / name / "data.mdb", copy)
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return copy, {"queries": expected["queries"], **expected[name]}


def test_a_stored_index_says_what_it_said(stored: tuple[Path, dict[str, Any]]) -> None:
    path, expected = stored
    queries = np.array(expected["queries"], np.float32)
    with streamlsh.open(path) as reader:
        report = reader.verify()
        assert report.items == len(reader) == expected["items"]
        assert report.markers == expected["markers"]
        assert report.entries == expected["entries"]
        assert report.segments == expected["segments"]
        assert reader.digest() == expected["digest"]
        assert reader.commit == expected["commit"]
        info = reader.info()
        assert info["family"]["digest"] == expected["family_digest"]
        assert info["positions"] == expected["positions"]
        for answer in expected["answers"]:
            hits = getattr(reader, answer["ask"])(queries, **answer["options"])
            assert hits.ids == answer["ids"]
            for found, scores in zip(hits.scores, answer["scores"], strict=True):
                np.testing.assert_allclose(found, scores, atol=2e-6)


@pytest.mark.parametrize("name", ["hyperplane", "voronoi"])
def test_stored_items_come_back_with_all_they_had(name: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "format-1" / name, tmp_path / "index")
    with streamlsh.open(tmp_path / "index") as reader:
        long = reader.get("x" * 511)
        assert long is not None
        assert long.tags == ("even",)
        first = reader.get("é")
        assert first is not None
        assert first.version == 0
        assert first.attributes == {
            "number": 0,
            "nested": {"list": [1, 2.5, None, True, "ü"]},
        }


def test_a_stored_index_can_be_written_to(stored: tuple[Path, dict[str, Any]]) -> None:
    path, expected = stored
    vectors = np.random.default_rng(3).standard_normal((500, 8)).astype(np.float32)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        assert {p["offset"] for p in expected["positions"]} == {
            position.offset for position in writer.positions.values()
        }
        items = [
            Upsert(item.id, item.vector, item.version, item.tags, item.attributes)
            for item in reader.items()
        ]
        writer.stage(Upsert(i.id, i.vector, None, i.tags, i.attributes) for i in items)
        result = writer.commit()
        assert result.unchanged == expected["items"]
        assert reader.digest() == expected["digest"]
        for turn in range(10):
            writer.upsert([f"new-{row}" for row in range(500)], vectors + turn)
            writer.commit()
        writer.delete([f"new-{row}" for row in range(500)])
        assert writer.commit().deleted == 500
        reader.verify()
        assert reader.digest() == expected["digest"]
        assert reader.exact(expected["queries"]).ids == expected["answers"][0]["ids"]
