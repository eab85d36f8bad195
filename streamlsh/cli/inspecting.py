"""``info``, ``verify``, ``digest``: look at an index as a whole; ``warm``: at none."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import streamlsh
from streamlsh.cli.output import flattened, print_json, print_lines, print_table, printable
from streamlsh.cli.progress import working
from streamlsh.readers import describe_pin


def info(options: Namespace) -> None:
    """Print what the index is and how full it is."""
    with streamlsh.open(options.path) as reader:
        facts = reader.info()
    if options.json:
        print_json(facts)
        return
    tables = ("occupancy", "calibration", "plans", "oldest_snapshot")
    print_lines(flattened({name: fact for name, fact in facts.items() if name not in tables}))
    oldest = facts["oldest_snapshot"]
    pin = describe_pin(streamlsh.ReaderInfo(**oldest)) if oldest else "none is open"
    print(f"\noldest snapshot: {printable(pin)}")
    print("\nbuckets in use; entries of deleted items count until a merge leaves them behind")
    print_table(_OCCUPANCY, map(_occupied, facts["occupancy"]["tables"]))
    if facts["occupancy"]["overflow_entries"] is not None:
        print(f"outside the family's range: {facts['occupancy']['overflow_entries']:,} entries")
    print()
    if facts["calibration"] is None:
        print(f"not calibrated: run streamlsh calibrate {printable(options.path)}")
    else:
        print_settings(facts["calibration"])
    print("\nwhat a search for 10 neighbours does")
    print_plans(facts["plans"])


_OCCUPANCY = (
    "table", "buckets", "in use", "entries", "mean", "p50", "p99", "largest", "share of it",
    "fullest (bucket: entries)",
)  # fmt: skip


def _occupied(table: dict[str, Any]) -> Sequence[object]:
    return (
        table["table"],
        table["buckets"],
        table["occupied"],
        table["entries"],
        f"{table['mean']:,.1f}",
        f"{table['p50']:,.0f}",
        f"{table['p99']:,.0f}",
        f"{table['largest']:,.0f}",
        f"{table['largest_share']:.2%}",
        "  ".join(f"{each['bucket']}: {each['entries']:,}" for each in table["fullest"]),
    )


def print_settings(calibration: dict[str, Any]) -> None:
    """Print what a calibration found, as ``Reader.info`` gives it, without what is never chosen."""
    print(
        f"calibrated on {calibration['items']:,} items with {calibration['queries']:,} "
        + ("queries" if calibration["source"] == "queries" else "items as queries")
    )
    print_table(
        ("k", "recall", "route", "probes", "reach", "re-ranked", "candidates", "microseconds"),
        (
            (
                setting["k"],
                f"{setting['recall']:.4f}",
                "tables" if setting["probes"] else "scan",
                setting["probes"] or "all",
                "any" if setting["reach"] is None else f"{setting['reach']:.3g}",
                setting["rerank"],
                f"{setting['candidates']:,.0f}",
                f"{setting['microseconds']:,.1f}",
            )
            for setting in _worth(calibration["settings"])
        ),
    )


def _worth(settings: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """For each k, the settings that reach more than all that cost less."""
    best: dict[int, float] = {}
    for setting in sorted(settings, key=lambda each: (each["k"], each["microseconds"])):
        if setting["recall"] > best.get(setting["k"], 0.0):
            best[setting["k"]] = setting["recall"]
            yield setting


def print_plans(plans: Iterable[dict[str, Any]]) -> None:
    """Print what the planner does for some recalls, as ``Reader.info`` gives it."""
    print_table(
        ("recall", "route", "probes", "re-ranked", "measured", "because"),
        (
            (
                f"{plan['recall']:g}",
                plan["route"],
                "all" if plan["probes"] is None else plan["probes"],
                plan["rerank"],
                "" if plan["promised"] is None else f"{plan['promised']:.4f}",
                plan["reason"],
            )
            for plan in plans
        ),
    )


def verify(options: Namespace) -> None:
    """Check every invariant; a broken one is raised as ``CorruptIndexError``."""
    with streamlsh.open(options.path) as reader, working("verifying"):
        report = reader.verify()
    if options.json:
        print_json({"sound": True, **asdict(report)})
        return
    print(f"{options.path} is sound")
    print_lines(asdict(report).items())


def digest(options: Namespace) -> None:
    """Print the hash of the content."""
    with streamlsh.open(options.path) as reader, working("hashing"):
        content = reader.digest()
    if options.json:
        print_json({"digest": content})
    else:
        print(content)


def warm(options: Namespace) -> None:
    """Compile the kernels."""
    started = time.perf_counter()
    with working("compiling"):
        streamlsh.warm()
    seconds = time.perf_counter() - started
    if options.json:
        print_json({"seconds": seconds})
    else:
        print(f"the kernels are ready, after {seconds:.1f} s")
