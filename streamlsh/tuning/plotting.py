"""What ``tune`` measured, drawn: needs matplotlib, the extra ``plot``."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from streamlsh.tuning.report import Measured, TuneReport

COLOURS = {
    "crosspolytope": "#1f6fd0",
    "hyperplane": "#d97706",
    "pstable": "#7b4fa3",
    "voronoi": "#c8102e",
}
INK = "#333333"
LOWEST = 0.5
"""Recalls below are not drawn."""


def draw(report: TuneReport, path: Path) -> None:
    """Write a plot of a report as SVG: recall against cost, and predicted against measured."""
    # The same report gives the same file.
    with mpl.rc_context({"svg.hashsalt": "streamlsh", "svg.fonttype": "none"}):
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _costs(left, report)
        _recalls(right, report)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _costs(axes: Axes, report: TuneReport) -> None:
    named: set[str] = set()
    for trial in report.trials:
        ways = _worth([way for way in trial.ways if way.probes and way.predicted >= LOWEST])
        label = "" if trial.family in named else trial.family
        if ways:
            named.add(trial.family)
            axes.plot(
                [way.microseconds for way in ways], [way.predicted for way in ways],
                marker="o", markersize=3, linewidth=1, alpha=0.7,
                color=COLOURS.get(trial.family, INK), label=label or None,
            )  # fmt: skip
    if report.scan is not None:
        way = report.scan.way
        axes.plot(way.microseconds, way.predicted, "s", color=INK, label="scan of all sketches")
    axes.plot(report.exact_microseconds, 1.0, "D", color=INK, label="scan of all vectors")
    if report.best is not None:
        way = report.best.way
        axes.plot(
            way.microseconds, way.predicted, "*", markersize=14, color=INK,
            label="cheapest by tables",
        )  # fmt: skip
    axes.axhline(report.recall, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel(f"microseconds a query at {report.items:,} items, by the cost model")
    axes.set_ylabel("recall@10")
    axes.set_title("Up and to the left is better", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _recalls(axes: Axes, report: TuneReport) -> None:
    for family in dict.fromkeys(trial.family for trial in report.trials):
        ways = [
            way
            for trial in report.trials
            for way in trial.ways
            if trial.family == family and way.predicted >= LOWEST
        ]
        axes.plot(
            [way.predicted for way in ways], [way.measured for way in ways], ".", markersize=4,
            alpha=0.6, color=COLOURS.get(family, INK), label=family,
        )  # fmt: skip
    axes.plot([LOWEST, 1.0], [LOWEST, 1.0], color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("predicted: recall on the queries that choose")
    axes.set_ylabel("measured: recall on the others")
    axes.set_title("On the line is right", loc="left", fontsize=10)
    if report.trials:
        axes.legend(frameon=False, fontsize=8, loc="upper left")


def _worth(ways: list[Measured]) -> list[Measured]:
    """The ways that no cheaper one reaches as much as, by rising cost."""
    kept: list[Measured] = []
    for way in sorted(ways, key=lambda one: one.microseconds):
        if not kept or way.predicted > kept[-1].predicted:
            kept.append(way)
    return kept
