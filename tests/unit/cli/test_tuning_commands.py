"""``tune`` and ``calibrate``: what they print, for people and for scripts."""

import sys
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from tests.unit.cli.conftest import Run
from tests.unit.tuning.data import DIM, clustered


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few trials and few queries."""
    monkeypatch.setattr("streamlsh.tuning.grid.SIZES", (64.0, 64.0))
    monkeypatch.setattr("streamlsh.tuning.grid.TABLES", (1,))
    monkeypatch.setattr("streamlsh.tuning.choosing.QUERIES", 100)
    monkeypatch.setattr("streamlsh.calibrating.QUERIES", 100)
    monkeypatch.setattr("streamlsh.calibrating.LEAST_QUERIES", 60)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """An index of 1,500 items, voronoi."""
    path = tmp_path / "filled.index"
    rows = clustered(1500)
    streamlsh.create(path, dim=DIM, sample=rows, cells=32)
    with streamlsh.writer(path) as writer:
        writer.upsert([f"item-{row}" for row in range(1500)], rows)
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A file of 800 rows."""
    np.save(tmp_path / "sample.npy", clustered(800, seed=2))
    return tmp_path / "sample.npy"


@pytest.mark.usefixtures("quick")
def test_calibrate_stores_the_table_and_says_what_follows(run: Run, filled: Path) -> None:
    outcome = run("calibrate", filled)
    assert outcome.code == 0
    assert "calibrated on 1,500 items with " in outcome.out
    assert "what a search for 10 neighbours does from now on" in outcome.out
    with streamlsh.open(filled) as reader:
        stored = reader.info()["calibration"]
    assert stored["items"] == 1500
    assert {setting["k"] for setting in stored["settings"]} == {10, 100}
    assert "calibrated on 1,500 items" in run("info", filled).out


@pytest.mark.usefixtures("quick")
def test_calibrate_takes_queries_from_a_file(run: Run, filled: Path, sample: Path) -> None:
    answer = run("calibrate", filled, "--queries", sample, "--json").json
    assert (answer["calibration"]["source"], answer["calibration"]["queries"]) == ("queries", 100)
    assert [plan["recall"] for plan in answer["plans"]] == [0.9, 0.95, 0.98, 0.99]


def test_calibrate_of_too_few_items_says_so(run: Run, index: Path) -> None:
    outcome = run("calibrate", index, "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == "SampleError"


def test_queries_of_the_wrong_length_name_their_file(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "queries.npy", np.ones((60, DIM + 1)))
    outcome = run("calibrate", filled, "--queries", tmp_path / "queries.npy")
    assert outcome.code == 1
    assert f"queries.npy: expected shape (n, {DIM})" in outcome.err


@pytest.mark.usefixtures("quick")
def test_tune_says_what_to_make_and_how(run: Run, sample: Path) -> None:
    outcome = run("tune", sample, "--items", 500_000, "--recall", 0.9)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"500,000 items of {DIM} dimensions, cosine, recall@10 of 0.9;")
    assert lines[1].startswith(("tables: ", "scan: "))
    for name in ("family", "entries a bucket", "candidates a query", "on disk"):
        assert any(line.startswith(name) for line in lines)
    command = next(line.split() for line in lines if line.startswith("  streamlsh create"))
    assert command[2:6] == ["PATH", "--dim", str(DIM), "--metric"]


@pytest.mark.usefixtures("quick")
def test_what_tune_tells_to_type_can_be_typed(run: Run, sample: Path, tmp_path: Path) -> None:
    lines = run("tune", sample, "--items", 500_000, "--recall", 0.9).out.splitlines()
    command = next(line.split() for line in lines if line.startswith("  streamlsh create"))
    assert run("create", tmp_path / "new.index", *command[3:]).code == 0


@pytest.mark.usefixtures("quick")
def test_tune_prints_the_report_as_json_and_draws_it(
    run: Run, sample: Path, tmp_path: Path
) -> None:
    answer = run(
        "tune", sample, "--items", 50_000, "--metric", "euclidean", "--bucket-size", 100,
        "--plot", tmp_path / "plot.svg", "--json",
    ).json  # fmt: skip
    assert (answer["items"], answer["metric"], answer["bucket_size"]) == (50_000, "euclidean", 100)
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_tune_without_matplotlib_says_how_to_install_it_before_it_works(
    run: Run, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = run("tune", sample, "--items", 1000, "--plot", "plot.svg", "--json")
    assert outcome.code == 1
    assert "pip install 'streamlsh[plot]'" in outcome.err
    assert outcome.json["error"]["type"] == "MissingExtraError"


def test_a_plot_is_an_svg_or_a_usage_error(run: Run, sample: Path) -> None:
    outcome = run("tune", sample, "--items", 1000, "--plot", "plot.png")
    assert outcome.code == 2
    assert ".svg" in outcome.err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "expected vectors, received none"),
        ('{"id": "a", "vector": []}', "expected vectors of 1 to 8192 numbers, received 0"),
        ('{"id": "a", "vector": 7}', "expected vectors of 1 to 8192 numbers, received 0"),
        ('{"id": "a"}', "line 1: expected the field 'vector', received none"),
    ],
)
def test_a_sample_that_is_none_is_named(
    run: Run, tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "sample.jsonl").write_text(content, encoding="utf-8")
    outcome = run("tune", tmp_path / "sample.jsonl", "--items", 1000)
    assert outcome.code == 1
    assert f"{tmp_path / 'sample.jsonl'}" in outcome.err
    assert problem in outcome.err
