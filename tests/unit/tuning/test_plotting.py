"""The plot is drawn from the report alone, the same every time."""

from pathlib import Path

from streamlsh.tuning.occupancy import Occupancy
from streamlsh.tuning.plotting import draw
from streamlsh.tuning.report import Choice, Measured, Trial, TuneReport

WAYS = (
    Measured(1, 8, 0.2, 60, 0.91, 0.9, 7.5, 900.0, 30.0),
    Measured(1, 16, 0.3, 90, 0.96, 0.95, 15.0, 1800.0, 45.0),
)
HELD = Occupancy(64, 60, 20.0, 15.0, 80.0, 120.0)
CHOICE = Choice("voronoi", {"cells": 64}, 1, WAYS[1], HELD, 20_000, 10_000, 5_000)
SCAN = Choice(
    "voronoi", {"cells": 64}, 1, Measured(1, 0, float("inf"), 60, 0.97, 0.97, 1, 9000.0, 60.0),
    HELD, 20_000, 10_000, 5_000,
)  # fmt: skip
TRIALS = (Trial("voronoi", {"cells": 64}, 0.5, WAYS),)


def test_a_plot_is_an_svg_that_is_the_same_for_the_same_report(tmp_path: Path) -> None:
    report = TuneReport(
        10_000, 0.95, 24, "cosine", None, 1600, 200, "tables", "cheaper", CHOICE, (CHOICE,), SCAN,
        4000.0, TRIALS,
    )  # fmt: skip
    for name in ("one.svg", "two.svg"):
        draw(report, tmp_path / name)
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "voronoi" in text
    assert "10,000 items" in text


def test_nothing_that_reaches_the_recall_can_be_drawn_too(tmp_path: Path) -> None:
    report = TuneReport(
        10_000, 0.999, 24, "cosine", None, 1600, 200, "exact", "nothing", None, (), None, 4000.0,
        (),
    )  # fmt: skip
    draw(report, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 1000
