"""``tune`` and ``calibrate``: which index to make, and how to ask the one there is."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import streamlsh
from streamlsh.cli.errors import MissingExtraError, UsageError
from streamlsh.cli.files import read_vectors
from streamlsh.cli.inspecting import print_plans, print_settings
from streamlsh.cli.output import print_json, print_lines, print_table
from streamlsh.cli.progress import sharing
from streamlsh.tuning.report import Choice, TuneReport

_SHOWN = 12
_PLOT = ".svg"


def calibrate(options: Namespace) -> None:
    """Measure an index, store what was found, and say what the planner makes of it."""
    with streamlsh.open(options.path) as reader:
        dim = reader.config.dim
    queries = None if options.queries is None else read_vectors(Path(options.queries), dim)
    with sharing("calibrating") as progress:
        streamlsh.calibrate(options.path, queries=queries, progress=progress)
    with streamlsh.open(options.path) as reader:
        facts = reader.info()
    if options.json:
        print_json({"calibration": facts["calibration"], "plans": facts["plans"]})
        return
    print_settings(facts["calibration"])
    print("\nwhat a search for 10 neighbours does from now on")
    print_plans(facts["plans"])


def tune(options: Namespace) -> None:
    """Find the index to make for a number of items like those of a sample."""
    plot = None if options.plot is None else Path(options.plot)
    if plot is not None:
        _check_plot(plot)
    sample = read_vectors(Path(options.sample))
    with sharing("tuning") as progress:
        report = streamlsh.tune(
            sample,
            items=options.items,
            recall=options.recall,
            metric=options.metric,
            bucket_size=options.bucket_size,
            progress=progress,
        )
    if plot is not None:
        # matplotlib is an extra and slow to import: only who wants a plot needs it.
        from streamlsh.tuning.plotting import draw  # noqa: PLC0415

        draw(report, plot)
    if options.json:
        print_json(report.as_dict())
    else:
        _print_report(report, options)


def _check_plot(plot: Path) -> None:
    """Before a minute of work, not after it."""
    if plot.suffix != _PLOT:
        raise UsageError(f"{plot}: expected a name ending in {_PLOT}, the format that is written")
    try:
        import matplotlib  # noqa: F401, ICN001, PLC0415
    except ModuleNotFoundError:
        raise MissingExtraError(
            "--plot needs the package matplotlib", next_step="pip install 'streamlsh[plot]'"
        ) from None


def _print_report(report: TuneReport, options: Namespace) -> None:
    print(
        f"{report.items:,} items of {report.dim} dimensions, {report.metric}, recall@10 of "
        f"{report.recall:g}; measured on {report.rows:,} rows and {report.queries:,} queries"
    )
    print(f"{report.route}: {report.reason}\n")
    best = report.recommended
    if best is not None:
        print_lines(_facts(report, best))
        print()
    if report.choices:
        print_table(_COLUMNS, _rows(_shown(report)))
        several = [choice for choice in report.choices if choice.tables > 1]
        if several and all(choice.way.match == 1 for choice in several):
            print(
                "to ask for several tables (AND, at least m) costs more than twice as much as for "
                "any (OR)"
            )
        print()
    if best is None:
        return
    print("to make it")
    for line in _commands(report, best, options):
        print(f"  {line}")


def _facts(report: TuneReport, choice: Choice) -> Iterable[tuple[str, object]]:
    """All that is foreseen of the recommended index."""
    way, held = choice.way, choice.occupancy
    yield "family", f"{choice.family}: {_parameters(choice.parameters)}"
    yield "match", _match(choice)
    yield "recall", f"{way.predicted:.3f} predicted, {way.measured:.3f} measured on other queries"
    yield "candidates a query", f"{way.candidates:,.0f}, {way.candidates / report.items:.2%}"
    yield "re-ranked of them", way.rerank
    yield "microseconds a query", f"{way.microseconds:,.0f} by the cost model, one thread"
    yield "buckets in use", f"{held.occupied:,} of {held.buckets:,}"
    most = f"p99 {held.p99:,.0f}, largest {held.largest:,.0f}"
    yield "entries a bucket", f"mean {held.mean:,.1f}, p50 {held.p50:,.0f}, {most}"
    yield "on disk", _bytes(choice.disk_bytes)
    yield "read all over, to be in memory", _bytes(choice.memory_bytes)


_COLUMNS = (
    "family", "parameters", "match", "microseconds", "candidates", "re-ranked", "predicted",
    "measured", "mean", "p50", "p99", "largest", "disk",
)  # fmt: skip


def _shown(report: TuneReport) -> list[Choice]:
    """The cheapest choices, and the cheapest of each family and kind of match."""
    shown = list(report.choices[:_SHOWN])
    kinds = {(choice.family, choice.way.match > 1) for choice in shown}
    for choice in report.choices[_SHOWN:]:
        kind = choice.family, choice.way.match > 1
        if kind not in kinds:
            kinds.add(kind)
            shown.append(choice)
    return shown


def _rows(choices: Iterable[Choice]) -> Iterable[Sequence[object]]:
    for choice in choices:
        way, held = choice.way, choice.occupancy
        yield (
            choice.family,
            _parameters(choice.parameters),
            _match(choice),
            f"{way.microseconds:,.0f}",
            f"{way.candidates:,.0f}",
            way.rerank,
            f"{way.predicted:.3f}",
            f"{way.measured:.3f}",
            f"{held.mean:,.1f}",
            f"{held.p50:,.0f}",
            f"{held.p99:,.0f}",
            f"{held.largest:,.0f}",
            _bytes(choice.disk_bytes),
        )


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items())


def _match(choice: Choice) -> str:
    match = choice.way.match
    if choice.tables == 1:
        return "one table"
    if match == 1:
        return "any (OR)"
    return "all (AND)" if match == choice.tables else f"at least {match}"


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def _commands(report: TuneReport, best: Choice, options: Namespace) -> Iterable[str]:
    flags = " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in best.parameters.items()
    )
    yield (
        f"streamlsh create PATH --dim {report.dim} --metric {report.metric} "
        f"--family {best.family} {flags} --sample {options.sample}"
    )
    yield "streamlsh load PATH FILE"
    if best.way.match > 1:
        yield (
            f"and in Python: reader.search(x, match={best.way.match}, probes={best.way.probes}, "
            f"rerank={best.way.rerank})"
        )
    else:
        yield "streamlsh calibrate PATH"
        yield f"streamlsh search PATH --recall {report.recall:g} ..."
