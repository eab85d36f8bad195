"""``python -m tests.churn``: what churn does to an index, measured and held against its limits."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

import streamlsh
from tests.bench.bars import Bars
from tests.bench.dataset import load_sets
from tests.bench.figures import Figure
from tests.bench.machine import UnrestMeter, describe_machine
from tests.bench.report import Report, print_report
from tests.bench.tables import Plot, Table
from tests.churn import commits, streaming, turnover
from tests.churn.page import write_page
from tests.churn.scale import FULL, QUICK

WIDTH = 170
"""Of the table where the output is no terminal."""
PARTS = (turnover, commits, streaming)
MEASURES = {part.GROUP: part.measure for part in PARTS}
MEANINGS = {part.GROUP: part.MEANING for part in PARTS}

EPILOG = """\
examples:
  python -m tests.churn --quick                      a first look at the shipped sample
  python -m tests.churn --data FOLDER                100,000 items, ten turnovers, 1,500 commits
  python -m tests.churn --data FOLDER --turnover     sizes, digests, recall and speed alone
  python -m tests.churn --data FOLDER --runbooks --write-docs
  python -m tests.churn --data FOLDER --commits --json out.json --plots .

The folder holds NAME-codes.npy and NAME-scales.npy; all sets in it are one pool of vectors,
but for the runbooks, which take the glosses, or else the first of the sets.
Every index is durable: set TMPDIR to a real disk. Exit code 0, also if a limit is missed (the
table says so); 2 for wrong arguments.
"""


def main(arguments: list[str]) -> int:
    """Run what was asked for; return the exit code."""
    parser = new_parser()
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL
    try:
        sets = load_sets(options.data, None, None)
    except (OSError, ValueError) as error:
        parser.error(f"--data: {error}")
    wanted = [name for name in MEASURES if getattr(options, name)] or list(MEASURES)
    bars = Bars()
    used = []
    meter = UnrestMeter()
    streamlsh.warm()
    figures: list[Figure] = []
    tables: list[Table] = []
    plots: list[Plot] = []
    with tempfile.TemporaryDirectory(prefix="streamlsh-churn-") as folder:
        machine = describe_machine(Path(folder))
        if machine.file_system == "tmpfs":
            bars.say("WARNING: scratch space is in memory, so nothing is durable; set TMPDIR")
        for name in wanted:
            # Runbooks name one set; the others want as many vectors as there are.
            dataset = sets[0] if name == streaming.GROUP else sets[-1]
            used += [dataset] * (dataset not in used)
            bars.say(f"measuring: {name} on {dataset.describe()}")
            part = MEASURES[name](dataset, scale, Path(folder), bars)
            figures, tables, plots = figures + part[0], tables + part[1], plots + part[2]
    report = Report(
        datetime.now(UTC).date().isoformat(), used, scale.passes, not options.quick, machine,
        meter.read(), None, figures, [], tables, plots,
    )  # fmt: skip
    console = Console()
    print_report(report, console if console.is_terminal else Console(width=WIDTH))
    if options.json is not None:
        content = report.as_json() | {"scale": asdict(scale)}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            (options.plots / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    if options.write_docs:
        write_page(report, scale, MEANINGS)
    return 0


def new_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.churn",
        description="Measure what a life of updates does to an index, beside fresh builds.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="(default: shipped sample)")
    parser.add_argument("--turnover", action="store_true", help="only, or with other parts named")
    parser.add_argument("--commits", action="store_true", help="the same of the commit times")
    parser.add_argument("--runbooks", action="store_true", help="the same of the runbooks")
    parser.add_argument("--quick", action="store_true", help="a few thousand items: a first look")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as JSON too")
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="write the plots there")
    parser.add_argument("--write-docs", action="store_true",
                        help="write docs/churn.md; parts not run stay as they were")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
