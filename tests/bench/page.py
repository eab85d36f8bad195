"""The page of the docs: floors first, then everything by benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.figures import Figure
from tests.bench.report import COLUMNS, Report, cells_of
from tests.bench.tables import Table

PLOT_FOLDER = "benchmarks"

INTRODUCTION = """\
# Benchmarks

<!-- Written by `python -m tests.bench --write-docs`; do not edit. -->

Every figure is measured in one run of one process on one machine, side by side with its peers and
in turns with them, so that a slow minute hits all. One thread unless said otherwise. Rows that we
lose stay, and so do rows that could not be measured. The same as JSON:
[benchmarks.json](benchmarks.json).
"""

RATIOS = """\
The ratio says how many times as good as the peer we are, whichever way the unit runs: above 1x we
win. Where something is repeated, a headline is the median; a ratio is the median of ratios between
neighbours in time, so it need not be the quotient of the two medians. Every speed carries its
recall@10 against an exact scan, on queries that chose nothing.
"""

AGAIN = """\
## Run it yourself

```
make bench                               # the shipped sample, a few minutes
make bench DATA=folder                   # NAME-codes.npy and NAME-scales.npy, some minutes more
make bench-full DATA=folder              # every peer, curves and growth: up to an hour
make bench DATA=folder ARGS='--set descriptions --only query'
```

`make setup` installs the peers; LSH in Redis needs the program `redis-server` too.
"""


def markdown(report: Report, meanings: Mapping[str, str]) -> str:
    """The page.

    Args:
        report: the run.
        meanings: for each group what its figures mean.
    """
    held = [figure for figure in report.figures if figure.floor is not None]
    parts = [INTRODUCTION, f"**{report.summary()}**\n"]
    if held:
        parts += ["## Floors and goals\n", rows_text(held), RATIOS]
    if report.unmeasured:
        parts.append(_unmeasured(report))
    parts += [_section(report, group, meanings[group]) for group in _groups(report)]
    parts += [_machine(report), AGAIN]
    return "\n".join(parts)


def _groups(report: Report) -> list[str]:
    measured = [figure.group for figure in report.figures]
    return list(dict.fromkeys(measured + [one.group for one in report.unmeasured]))


def _section(report: Report, group: str, meaning: str) -> str:
    parts = [f"## {group}\n", meaning + "\n"]
    parts += [
        f"![{plot.caption}]({PLOT_FOLDER}/{plot.name}.svg)\n"
        for plot in report.plots
        if plot.group == group
    ]
    parts += [table_text(table) for table in report.tables if table.group == group]
    further = [one for one in report.figures if one.group == group and one.floor is None]
    if further:
        parts.append(rows_text(further))
    return "\n".join(parts)


def table_text(table: Table) -> str:
    """A table with its title."""
    lines = [f"### {table.title}", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("| --- |" + " ---: |" * (len(table.columns) - 1))
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def rows_text(figures: Sequence[Figure]) -> str:
    """Figures as one table, their notes under their names."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * 5 + " --- |" * 2]
    for figure in figures:
        cells = cells_of(figure, "<br>")
        if figure.note:
            cells[0] += f"<br>*{figure.note}*"
        if figure.floor_missed:
            cells[6] = f"**{cells[6]}**"
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _unmeasured(report: Report) -> str:
    lines = [f"- {one.group}: {_cell(one.reason)}" for one in report.unmeasured]
    return "\n".join(["## Not measured", "", *lines]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _machine(report: Report) -> str:
    machine, unrest = report.machine, report.unrest
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    stolen = "unknown" if unrest.stolen is None else f"{unrest.stolen:.1%}"
    lines = ["## Data and machine", ""]
    lines += [f"- Data: {one.describe()}." for one in report.sets]
    lines += [
        "- The queries are never indexed; half of them choose the peers' parameters, the other",
        "  half are scored.",
        f"- Processor: {machine.cpu}, {machine.cores} cores; {machine.memory_gib:g} GiB of memory.",
        f"- System: {machine.system}; indexes on {machine.file_system},",
        f"  where making a page durable takes {machine.sync_ms:g} ms.",
        f"- Python {machine.python}; {packages}.",
        f"- Broker: {report.broker or 'none'}.",
        f"- Run on {report.date} with {report.repeats} repeats.",
        f"- Noise: load average {unrest.load:.2f} before the run, {stolen} of the processor time",
        "  stolen by the hypervisor during it. The last column of the tables of figures shows the",
        "  smallest, median and largest of the repeats; smaller differences mean nothing.",
        "",
    ]
    return "\n".join(lines)
