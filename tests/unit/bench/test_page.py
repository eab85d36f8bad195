"""The page of the docs that the benchmark writes."""

import json

import numpy as np
import pytest

from tests.bench.dataset import Dataset, load_sets
from tests.bench.figures import Figure, Spread, Unmeasured, times
from tests.bench.machine import Machine, Unrest
from tests.bench.page import markdown
from tests.bench.plots import growth_plot
from tests.bench.report import Report, json_text
from tests.bench.tables import Plot, Table


def figure(name: str, ratio: float, *, floored: bool, valid: bool = True) -> Figure:
    spread = Spread(1.0, 2.0, 3.0)
    floor = times(2) if floored else None
    return Figure(
        "query", name, "queries/s", 2.0, spread, ratio=ratio, floor=floor, valid=valid
    )  # fmt: skip


@pytest.fixture
def report() -> Report:
    rows = np.zeros((4, 2), np.float32)
    return Report(
        date="2026-01-02",
        sets=[Dataset("a set", False, False, ["a", "b", "c", "d"], rows, rows[:1], rows[:1])],
        repeats=3,
        full=True,
        machine=Machine("a processor", 2, 1.0, "Linux", "ext4", 0.1, "3.11", {"numpy": "2"}),
        unrest=Unrest(0.5, None),
        broker=None,
        figures=[
            figure("won", 3, floored=True),
            figure("lost", 1, floored=True),
            figure("wrong", 3, floored=True, valid=False),
            figure("beside", 1, floored=False),
        ],
        unmeasured=[Unmeasured("query", "LSH in Redis: needs a | program", failed=False)],
        tables=[Table("query", "Speed", ("", "queries/s"), [["hnswlib", "1"]], {"n": 1})],
        plots=[Plot("query", "curve", "Recall and speed", "<svg/>")],
    )


def test_the_page_begins_with_the_rows_that_have_floors(report: Report) -> None:
    page = markdown(report, {"query": "What it means."})
    floors, rest = page.split("## Data and machine")[0].split("## Not measured")
    assert [name in floors for name in ("won", "lost", "wrong", "beside")] == [True] * 3 + [False]
    assert "beside" in rest


def test_rows_that_lose_or_break_their_condition_stay_and_say_so(report: Report) -> None:
    page = markdown(report, {"query": ""})
    assert page.count("**FLOOR MISSED**") == 2
    assert "FLOORS MISSED: 2: lost; wrong." in page


def test_what_was_not_measured_stands_on_the_page_with_its_reason(report: Report) -> None:
    assert "LSH in Redis: needs a \\| program" in markdown(report, {"query": ""})


def test_tables_and_plots_stand_under_their_benchmark(report: Report) -> None:
    page = markdown(report, {"query": ""})
    section = page.split("## query\n")[1]
    assert "| hnswlib | 1 |" in section
    assert "![Recall and speed](benchmarks/curve.svg)" in section


def test_the_json_holds_what_the_tables_show(report: Report) -> None:
    content = json.loads(json_text(report))
    assert content["tables"][0]["data"] == {"n": 1}
    assert [row["verdict"] for row in content["figures"]] == [
        "floor met", "FLOOR MISSED", "FLOOR MISSED", "",
    ]  # fmt: skip


def test_a_plot_of_the_same_numbers_is_the_same_file() -> None:
    def drawn() -> str:
        return growth_plot("growth", [10, 100], {"streamlsh": [1.0, 2.0]}, {"streamlsh": 0.3}).svg

    assert drawn() == drawn()


def test_queries_of_the_sample_are_not_among_its_items() -> None:
    (sample,) = load_sets(None, None, None)
    assert len(sample) + len(sample.choosing) + len(sample.scored) == 5_000
    assert len(sample.choosing) == len(sample.scored)
