"""The outcome as a table for people, JSON for scripts, and a page of the docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Unmeasured
from tests.bench.machine import Machine, Unrest

COLUMNS = (
    "figure", "ours", "peer", "ratio", "floor", "goal", "met?", "min - median - max of repeats",
)  # fmt: skip
FULL_SIZE = 100_000
NARROW = 110


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A whole run.

    Attributes:
        date: UTC, ``YYYY-MM-DD``.
        dataset: what was indexed and asked.
        repeats: as asked for.
        machine: where.
        unrest: how quiet it was.
        broker: where the broker came from, if one was started.
        figures: the rows.
        unmeasured: benchmarks that could not be run.
    """

    date: str
    dataset: Dataset
    repeats: int
    machine: Machine
    unrest: Unrest
    broker: str | None
    figures: Sequence[Figure]
    unmeasured: Sequence[Unmeasured]

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "date": self.date,
            "data": {
                "name": self.dataset.name,
                "shipped_sample": self.dataset.is_sample,
                "items": len(self.dataset),
                "dim": self.dataset.dim,
                "choosing_queries": len(self.dataset.choosing),
                "scored_queries": len(self.dataset.scored),
            },
            "repeats": self.repeats,
            "machine": asdict(self.machine),
            "unrest": asdict(self.unrest),
            "broker": self.broker,
            "figures": [figure.as_json() for figure in self.figures],
            "unmeasured": [asdict(one) for one in self.unmeasured],
        }

    def summary(self) -> str:
        """The verdict in words."""
        parts = []
        missed = [figure.name for figure in self.figures if figure.floor_missed]
        if missed:
            parts.append(f"FLOORS MISSED: {len(missed)}: " + "; ".join(missed) + ".")
        elif any(figure.floor for figure in self.figures):
            parts.append("Every floor that was measured is met.")
        parts += [f"NOT MEASURED: {one.group}: {one.reason}." for one in self.unmeasured]
        if len(self.dataset) < FULL_SIZE:
            parts.append(
                f"The floors and goals are stated for {FULL_SIZE:,} items; "
                f"this run had {len(self.dataset):,}."
            )
        return " ".join(parts)


def print_report(report: Report, console: Console) -> None:
    """Print the figures as a table, or line by line where that is too narrow; then the verdict."""
    if console.width < NARROW:
        _print_lines(report, console)
    else:
        _print_table(report, console)
    console.print(report.summary(), markup=False, highlight=False)


def _print_table(report: Report, console: Console) -> None:
    table = Table(title=f"streamlsh on {report.dataset.describe()}", show_lines=True)
    for column in COLUMNS:
        right = column in {"ours", "peer", "ratio", "floor", "goal"}
        table.add_column(column, justify="right" if right else "left")
    for figure in report.figures:
        cells = _cells(figure, "\n")
        if figure.note:
            cells[0] += f"\n({figure.note})"
        style = "bold red" if figure.floor_missed else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    for one in report.unmeasured:
        table.add_row(Text(f"{one.group}: NOT MEASURED: {one.reason}"), style="bold red")
    console.print(table)


def _print_lines(report: Report, console: Console) -> None:
    """Every cell of a row on a line of its own, named after its column."""
    for figure in report.figures:
        name, *cells = _cells(figure, ", ")
        style = "bold red" if figure.floor_missed else "bold"
        console.print(name, style=style, markup=False, highlight=False)
        named = [*zip(COLUMNS[1:], cells, strict=True), ("note", figure.note)]
        for column, cell in named:
            if cell:
                console.print(f"    {column}: {cell}", markup=False, highlight=False)
    for one in report.unmeasured:
        console.print(f"{one.group}: NOT MEASURED: {one.reason}", style="bold red", markup=False)


def json_text(report: Report) -> str:
    """The report as a JSON document."""
    return json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n"


def markdown(report: Report, meanings: Mapping[str, str]) -> str:
    """The page of the docs.

    Args:
        report: the run.
        meanings: for each group what its figures mean.
    """
    machine, unrest = report.machine, report.unrest
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    stolen = "unknown" if unrest.stolen is None else f"{unrest.stolen:.1%}"
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by `python -m tests.bench --write-docs`; do not edit. -->",
        "",
        "Every figure is measured in one run on one machine, side by side with its peer and in",
        "turns with it, so that a slow minute hits both. One thread a process unless said",
        "otherwise. Rows that we lose stay in the table. The same as JSON:",
        "[benchmarks.json](benchmarks.json).",
        "",
        f"**{report.summary()}**",
        "",
        *_rows(report),
        "",
        "The ratio says how many times as good as the peer we are, whichever way the unit runs:",
        "above 1x we win. Where something is repeated, a headline is the median; a ratio is the",
        "median of ratios between neighbours in time, so it need not be the quotient of the two",
        "medians.",
        "",
        "## Data and machine",
        "",
        f"- Data: {report.dataset.describe()}. The queries are never indexed;",
        "  half of them choose parameters, the other half are scored.",
        f"- Processor: {machine.cpu}, {machine.cores} cores; {machine.memory_gib:g} GiB of memory.",
        f"- System: {machine.system}; indexes on {machine.file_system},",
        f"  where making a page durable takes {machine.sync_ms:g} ms.",
        f"- Python {machine.python}; {packages}.",
        f"- Broker: {report.broker or 'none'}.",
        f"- Run on {report.date} with {report.repeats} repeats.",
        f"- Noise: load average {unrest.load:.2f} before the run, {stolen} of the processor time",
        "  stolen by the hypervisor during it. The last column of the table shows the smallest,",
        "  median and largest of the repeats; differences smaller than that mean nothing.",
        "",
        "## What the figures mean",
        "",
        *_meanings(report, meanings),
        "## Run it yourself",
        "",
        "```",
        "make bench                               # the shipped sample",
        "make bench DATA=folder                   # NAME-codes.npy and NAME-scales.npy",
        "make bench DATA=folder ARGS='--set descriptions --only query'",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _rows(report: Report) -> list[str]:
    head = "| " + " | ".join(COLUMNS) + " |"
    lines = [head, "| --- |" + " ---: |" * 5 + " --- |" * 2]
    for figure in report.figures:
        cells = _cells(figure, "<br>")
        if figure.note:
            cells[0] += f"<br>*{figure.note}*"
        if figure.floor_missed:
            cells[6] = f"**{cells[6]}**"
        lines.append("| " + " | ".join(cells) + " |")
    for one in report.unmeasured:
        reason = one.reason.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {one.group}: **NOT MEASURED**: {reason} |" + " |" * 7)
    return lines


def _meanings(report: Report, meanings: Mapping[str, str]) -> list[str]:
    groups = dict.fromkeys([figure.group for figure in report.figures])
    groups |= dict.fromkeys([one.group for one in report.unmeasured])
    return [line for group in groups for line in (f"### {group}", "", meanings[group], "")]


def _cells(figure: Figure, newline: str) -> list[str]:
    goal = figure.later or (figure.goal.text if figure.goal else "")
    return [
        figure.name,
        f"{_number(figure.ours)} {figure.unit}",
        "" if figure.peer is None else f"{_number(figure.peer)}{newline}{figure.peer_name}",
        "" if figure.ratio is None else f"{_number(figure.ratio)}x",
        figure.floor.text if figure.floor else "",
        goal,
        figure.verdict,
        newline.join(_spreads(figure)),
    ]


def _spreads(figure: Figure) -> list[str]:
    named = {"": figure.spread, "peer ": figure.peer_spread, "ratio ": figure.ratio_spread}
    return [
        name + " - ".join(_number(value) for value in (spread.low, spread.middle, spread.high))
        for name, spread in named.items()
        if spread is not None
    ]


def _number(value: float) -> str:
    """Three significant digits or so, thousands set apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
