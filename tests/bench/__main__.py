"""``python -m tests.bench``: measure the figures and print them as one table."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

import streamlsh
from streamlsh_kafka.errors import NoBrokerError
from tests.bench import growing, ingest, loading, opening, outcomes, querying, streaming, visibility
from tests.bench.bars import Bars
from tests.bench.dataset import FEWEST_ITEMS, load_sets
from tests.bench.figures import Figure, Unmeasured
from tests.bench.machine import UnrestMeter, describe_machine
from tests.bench.page import PLOT_FOLDER, markdown
from tests.bench.report import Report, json_text, print_report
from tests.bench.workbench import Workbench

DOCS = Path(__file__).parents[2] / "docs"
PLOTS = DOCS / PLOT_FOLDER
WIDTH = 150
"""Of the table where the output is no terminal."""

EPILOG = """\
examples:
  python -m tests.bench                                      the shipped sample
  python -m tests.bench --data FOLDER                        NAME-codes.npy, NAME-scales.npy
  python -m tests.bench --data FOLDER --full --write-docs    every peer and curve, up to an hour
  python -m tests.bench --data FOLDER --set descriptions --only query --json out.json
  python -m tests.bench --items 3000 --repeats 1             a first look, under two minutes

Exit code 0, also if a floor is missed (the table says so); 1 if a figure could not be measured
because something broke; 2 for wrong arguments.
"""


def _upserts(bench: Workbench) -> list[Figure]:
    return loading.figures(bench.dataset, bench.trained, bench.loaded)


MEASURES: dict[str, Callable[[Workbench], list[Figure]]] = {
    loading.GROUP: _upserts,
    ingest.GROUP: ingest.measure,
    visibility.GROUP: visibility.measure,
    opening.GROUP: opening.measure,
    streaming.GROUP: streaming.measure,
    growing.GROUP: growing.measure,
    outcomes.GROUP: querying.measure,
}
MEANINGS = {
    module.GROUP: module.MEANING
    for module in (loading, ingest, visibility, opening, streaming, growing)
} | {outcomes.GROUP: querying.MEANING}
REPEATS, FULL_REPEATS = 3, 5


def main(arguments: list[str]) -> int:
    """Run what was asked for; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers end too
    parser = new_parser()
    options = parser.parse_args(arguments)
    if options.set is not None and options.data is None:
        parser.error("--set needs --data: the shipped sample has one set")
    repeats = options.repeats or (FULL_REPEATS if options.full else REPEATS)
    wanted = options.only or [name for name in MEASURES if options.full or name != growing.GROUP]
    names = [name for name in MEASURES if name in wanted]
    if options.write_docs and options.only:
        parser.error("--write-docs needs every figure, so it does not go with --only")
    try:
        sets = load_sets(options.data, options.set, options.items)
    except (OSError, ValueError) as error:
        parser.error(f"--data: {error}")
    bars = Bars()
    for one in sets:
        bars.say(f"data: {one.describe()}")
    if sets[0].is_sample:
        bars.say("      (--data FOLDER, or make bench DATA=FOLDER, takes vectors of your own)")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    meter = UnrestMeter()
    figures: list[Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlsh-bench-")))
        machine = describe_machine(folder)
        if machine.file_system == "tmpfs":
            bars.say("WARNING: scratch space is in memory, so nothing is durable; set TMPDIR")
        bars.say("loading the kernels (the first time they are compiled, for some twenty seconds)")
        streamlsh.warm()
        bench = Workbench(sets, options.full, repeats, folder, bars, stack)
        for name in names:
            bars.say(f"measuring: {name}")
            try:
                figures += MEASURES[name](bench)
            except NoBrokerError as error:
                bench.unmeasured.append(Unmeasured(name, str(error), failed=False))
            except Exception as error:  # noqa: BLE001 - one figure must not cost the others
                traceback.print_exc()
                # The message may hold paths, and the page of the docs must not.
                bench.unmeasured.append(Unmeasured(name, type(error).__name__, failed=True))
        broker = bench.broker_kind
    report = Report(
        datetime.now(UTC).date().isoformat(), sets, repeats, options.full, machine, meter.read(),
        broker, figures, bench.unmeasured, bench.tables, bench.plots,
    )  # fmt: skip
    _write(report, options)
    return int(any(one.failed for one in bench.unmeasured))


def new_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure streamlsh against its peers and its targets.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="(default: shipped sample)")
    parser.add_argument(
        "--set", metavar="NAME", nargs="+",
        help="sets in that folder (default: every one, and all of them together)",
    )  # fmt: skip
    parser.add_argument(
        "--items", metavar="N", type=_items,
        help="index no more than N items of a set (default: all there are)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", metavar="R", type=_positive,
        help=f"of each figure (default: {REPEATS}, or {FULL_REPEATS} with --full)",
    )  # fmt: skip
    parser.add_argument(
        "--full", action="store_true", help="every peer, curves and growth: up to an hour"
    )
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=tuple(MEASURES),
                        help="measure only: " + ", ".join(MEASURES))  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as JSON too")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/benchmarks.md and benchmarks.json"
    )
    return parser


def _write(report: Report, options: argparse.Namespace) -> None:
    console = Console()
    print_report(report, console if console.is_terminal else Console(width=WIDTH))
    if options.json is not None:
        options.json.write_text(json_text(report), encoding="utf-8")
    if options.write_docs:
        (DOCS / "benchmarks.json").write_text(json_text(report), encoding="utf-8")
        (DOCS / "benchmarks.md").write_text(markdown(report, MEANINGS), encoding="utf-8")
        PLOTS.mkdir(exist_ok=True)
        for old in PLOTS.glob("*.svg"):
            old.unlink()
        for plot in report.plots:
            (PLOTS / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, received {number}")
    return number


def _items(text: str) -> int:
    number = int(text)
    if number < FEWEST_ITEMS:
        raise argparse.ArgumentTypeError(f"expected at least {FEWEST_ITEMS}, received {number}")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
