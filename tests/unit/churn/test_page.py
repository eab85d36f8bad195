"""The page keeps what was measured before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Spread, within
from tests.bench.machine import Machine, Unrest
from tests.bench.report import Report
from tests.bench.tables import Plot, Table
from tests.churn.page import write_page
from tests.churn.scale import QUICK

MACHINE = Machine("cpu", 2, 8.0, "Linux", "ext4", 1.0, "3.11", {"lmdb": "3"})
MEANINGS = {"turnover": "Turned over.", "commits": "Committed."}


def _report(group: str, ours: float) -> Report:
    rows = np.zeros((1, 2), np.float32)
    dataset = Dataset("glosses", False, False, ["a"], rows, rows, rows)
    figure = Figure(group, f"growth of {group}", "x", ours, Spread.of([ours]), floor=within(1, "x"))
    table = Table(group, f"Table of {group}", ("", "n"), [["first", "1"]], {"n": [1]})
    plot = Plot(group, f"{group}-plot", "A plot.", f"<svg>{ours}</svg>\n")
    return Report(
        "2026-01-01", [dataset], 1, True, MACHINE, Unrest(0.5, None), None, [figure], [], [table],
        [plot],
    )  # fmt: skip


def test_parts_that_were_not_run_stay_and_those_run_again_are_replaced(tmp_path: Path) -> None:
    for group, ours in (("commits", 2.0), ("turnover", 0.5), ("turnover", 3.0)):
        write_page(_report(group, ours), QUICK, MEANINGS, tmp_path)
    page = (tmp_path / "churn.md").read_text(encoding="utf-8")
    assert "FLOORS MISSED: 2: growth of turnover; growth of commits." in page
    assert page.index("Turned over.") < page.index("Committed.")
    assert "3.00 x" in page
    assert "2.00 x" in page
    assert "0.50 x" not in page
    results = json.loads((tmp_path / "churn" / "results.json").read_text(encoding="utf-8"))
    assert results["commits"]["tables"][0]["data"] == {"n": [1]}
    plots = {file.name: file.read_text() for file in (tmp_path / "churn").glob("*.svg")}
    assert plots == {
        "turnover-plot.svg": "<svg>3.0</svg>\n", "commits-plot.svg": "<svg>2.0</svg>\n",
    }  # fmt: skip
