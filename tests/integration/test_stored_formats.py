"""Index files of the current format open, answer as they did, and can be written to; older
ones are upgraded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh import Upsert
from streamlsh.errors import CurrentFormatError, IndexExistsError, OlderFormatError
from streamlsh.storage.schema import FORMAT_VERSION
from tests.fixtures import make_fixture

FIXTURES = Path(__file__).parents[1] / "fixtures"
CURRENT = FIXTURES / f"format-{FORMAT_VERSION}"
FILES = [(path.parents[1], path.parent.name) for path in sorted(CURRENT.glob("*/data.mdb"))]
OLDER = [FIXTURES / f"format-{version}" for version in range(1, FORMAT_VERSION)]


def test_there_is_a_file_of_the_current_format() -> None:
    assert f"format-{FORMAT_VERSION}" in [folder.name for folder, _ in FILES]
    assert {"hyperplane", "voronoi"} <= {name for _, name in FILES}
    for folder, name in FILES:
        assert (folder / name / "data.mdb").stat().st_size < 350_000


def without_epochs(positions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is said of positions that were stored before epochs were."""
    return [position | {"epoch": None} for position in positions]


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
        assert info["positions"] == without_epochs(expected["positions"])
        for answer in expected["answers"]:
            hits = getattr(reader, answer["ask"])(queries, **answer["options"])
            assert hits.ids == answer["ids"]
            for found, scores in zip(hits.scores, answer["scores"], strict=True):
                np.testing.assert_allclose(found, scores, atol=2e-6)


@pytest.mark.parametrize("name", ["hyperplane", "voronoi"])
def test_stored_items_come_back_with_all_they_had(name: str, tmp_path: Path) -> None:
    shutil.copytree(CURRENT / name, tmp_path / "index")
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


@pytest.mark.parametrize("folder", OLDER, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["hyperplane", "voronoi", "blocks"])
def test_an_index_of_an_older_format_is_upgraded_with_all_it_had(
    name: str, folder: Path, tmp_path: Path
) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(folder / name, old)
    for opening in (streamlsh.open, streamlsh.writer):
        with pytest.raises(OlderFormatError, match="streamlsh upgrade"):
            opening(old)
    told: list[tuple[int, int]] = []
    streamlsh.upgrade(old, new, progress=lambda done, ids: told.append((done, ids)))
    assert told[-1][0] == told[-1][1] == expected[name]["items"] + expected[name]["markers"]
    queries = np.array(expected["queries"], np.float32)
    with streamlsh.open(new) as reader:
        report = reader.verify()
        assert report.items == len(reader) == expected[name]["items"]
        assert report.markers == expected[name]["markers"]
        assert reader.info()["positions"] == without_epochs(expected[name]["positions"])
        (exact,) = (a for a in expected[name]["answers"] if a["ask"] == "exact")
        assert reader.exact(queries).ids == exact["ids"]
        getattr(make_fixture, name)(tmp_path / "same")  # what the fixtures of all formats hold
        with streamlsh.open(tmp_path / "same") as same:
            assert reader.digest() == same.digest()
        if name != "blocks":
            first = reader.get("é")
            assert first is not None
            assert (first.version, first.tags) == (0, ("even",))
            assert first.attributes == {
                "number": 0,
                "nested": {"list": [1, 2.5, None, True, "ü"]},
            }
            assert "é" in reader.search(first.vector, tags=["even"]).ids
    with streamlsh.writer(new) as writer:
        positions = {(p.stream, p.partition): p.offset for p in writer.positions.values()}
        wanted = expected[name]["positions"]
        assert positions == {(p["stream"], p["partition"]): p["offset"] for p in wanted}
    if name == "hyperplane":  # its markers still know their versions
        with streamlsh.writer(new) as writer:
            writer.upsert(["item-050"], queries[:1], versions=[999])
            assert writer.commit().stale == 1


def test_only_an_older_format_is_upgraded_and_nothing_is_written_over(tmp_path: Path) -> None:
    shutil.copytree(OLDER[0] / "blocks", tmp_path / "old")
    streamlsh.create(tmp_path / "current", dim=8)
    with pytest.raises(CurrentFormatError, match="format 1"):
        streamlsh.upgrade(tmp_path / "current", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(IndexExistsError):
        streamlsh.upgrade(tmp_path / "old", tmp_path / "current")
