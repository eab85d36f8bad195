"""The outcome as a table for people, and JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Unmeasured
from tests.bench.machine import Machine, Unrest
from tests.bench.tables import Plot, Table, number

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
        sets: what was indexed and asked, the main set first.
        repeats: as asked for.
        full: whether every peer and curve was asked for.
        machine: where.
        unrest: how quiet it was.
        broker: where the broker came from, if one was started.
        figures: the rows.
        unmeasured: benchmarks that could not be run, or parts of them.
        tables: beside the figures.
        plots: the same as pictures.
    """

    date: str
    sets: Sequence[Dataset]
    repeats: int
    full: bool
    machine: Machine
    unrest: Unrest
    broker: str | None
    figures: Sequence[Figure]
    unmeasured: Sequence[Unmeasured]
    tables: Sequence[Table]
    plots: Sequence[Plot]

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "date": self.date,
            "data": [
                {
                    "name": one.name,
                    "shipped_sample": one.is_sample,
                    "items": len(one),
                    "dim": one.dim,
                    "choosing_queries": len(one.choosing),
                    "scored_queries": len(one.scored),
                }
                for one in self.sets
            ],
            "repeats": self.repeats,
            "full": self.full,
            "machine": asdict(self.machine),
            "unrest": asdict(self.unrest),
            "broker": self.broker,
            "figures": [figure.as_json() for figure in self.figures],
            "unmeasured": [asdict(one) for one in self.unmeasured],
            "tables": [table.as_json() for table in self.tables],
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
        if len(self.sets[0]) < FULL_SIZE:
            parts.append(
                f"The floors and goals are stated for {FULL_SIZE:,} items and more; "
                f"this run had {len(self.sets[0]):,}."
            )
        return " ".join(parts)


def print_report(report: Report, console: Console) -> None:
    """Print the figures as a table, or line by line where that is too narrow; then the verdict."""
    if console.width < NARROW:
        _print_lines(report, console)
    else:
        _print_table(report, console)
        for table in report.tables:
            _print_further(table, console)
    console.print(report.summary(), markup=False, highlight=False)


def _print_table(report: Report, console: Console) -> None:
    title = "streamlsh on " + "; ".join(one.describe() for one in report.sets)
    table = Grid(title=title, show_lines=True)
    for column in COLUMNS:
        right = column in {"ours", "peer", "ratio", "floor", "goal"}
        table.add_column(column, justify="right" if right else "left")
    for figure in report.figures:
        cells = cells_of(figure, "\n")
        if figure.note:
            cells[0] += f"\n({figure.note})"
        style = "bold red" if figure.floor_missed else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    for one in report.unmeasured:
        table.add_row(Text(f"{one.group}: NOT MEASURED: {one.reason}"), style="bold red")
    console.print(table)


def _print_further(table: Table, console: Console) -> None:
    grid = Grid(title=table.title)
    for column in table.columns:
        grid.add_column(column)
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)


def _print_lines(report: Report, console: Console) -> None:
    """Every cell of a row on a line of its own, named after its column."""
    for figure in report.figures:
        name, *cells = cells_of(figure, ", ")
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


def cells_of(figure: Figure, newline: str) -> list[str]:
    """A figure's row: one text for each of ``COLUMNS``."""
    goal = figure.later or (figure.goal.text if figure.goal else "")
    return [
        figure.name,
        f"{number(figure.ours)} {figure.unit}",
        "" if figure.peer is None else f"{number(figure.peer)}{newline}{figure.peer_name}",
        "" if figure.ratio is None else f"{number(figure.ratio)}x",
        figure.floor.text if figure.floor else "",
        goal,
        figure.verdict,
        newline.join(_spreads(figure)),
    ]


def _spreads(figure: Figure) -> list[str]:
    named = {"": figure.spread, "peer ": figure.peer_spread, "ratio ": figure.ratio_spread}
    return [
        name + " - ".join(number(value) for value in (spread.low, spread.middle, spread.high))
        for name, spread in named.items()
        if spread is not None
    ]
