"""The page of the docs: each part as it was last run, from numbers that are kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, Spread, Target
from tests.bench.page import rows_text, table_text
from tests.bench.report import Report
from tests.bench.tables import Table
from tests.churn.scale import Scale

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FOLDER, RESULTS = "churn.md", "churn", "results.json"

INTRODUCTION = """\
# Churn

<!-- Written by `python -m tests.churn --write-docs`; do not edit. -->

What a life of updates does to an index: how large its file becomes, whether it still answers as a
fresh one does, and how long commits take; and how peers fare that go through the same updates.
Rows that we lose stay. The parts are run one by one, and each says when and on what; the same as
JSON: [results.json](churn/results.json).
"""

AGAIN = """\
## Run it yourself

```
make churn                                            # the shipped sample
make churn DATA=folder                                # NAME-codes.npy and NAME-scales.npy
make churn DATA=folder ARGS='--runbooks --write-docs' # one part; the page keeps the others
```

Set `TMPDIR` to a real disk: every index of ours is durable.
"""


def part_of(report: Report, scale: Scale, group: str) -> dict[str, Any]:
    """What is kept of one part of a run, ready for JSON."""
    whole = report.as_json()
    return {
        "date": report.date,
        "data": [one.describe() for one in report.sets],
        "full": report.full,
        "scale": asdict(scale),
        "machine": whole["machine"],
        "unrest": whole["unrest"],
        "figures": [one.as_json() for one in report.figures if one.group == group],
        "tables": [asdict(one) for one in report.tables if one.group == group],
        "plots": [
            {"name": one.name, "caption": one.caption}
            for one in report.plots
            if one.group == group
        ],
    }  # fmt: skip


def write_page(
    report: Report, scale: Scale, meanings: Mapping[str, str], docs: Path = DOCS
) -> None:
    """Write the page, its plots and its numbers; parts that this run left out stay as they were.

    Args:
        report: of the run.
        scale: of the run.
        meanings: for each part, in the order of the page, what was measured and how.
        docs: the folder of the docs.
    """
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    results = folder / RESULTS
    kept = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for group in dict.fromkeys(one.group for one in report.figures):
        for plot in kept.get(group, {}).get("plots", ()):
            (folder / f"{plot['name']}.svg").unlink(missing_ok=True)
        kept[group] = part_of(report, scale, group)
    for plot in report.plots:
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    results.write_text(text, encoding="utf-8")
    (docs / PAGE).write_text(markdown(kept, meanings), encoding="utf-8")


def markdown(parts: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    """The page from what is kept of each part."""
    groups = [group for group in meanings if group in parts]
    figures = {
        group: [_figure(one) for one in parts[group]["figures"]] for group in groups
    }  # fmt: skip
    held = [one for group in groups for one in figures[group] if one.floor is not None]
    missed = [one.name for one in held if one.floor_missed]
    verdict = "Every floor that was measured is met."
    if missed:
        verdict = f"FLOORS MISSED: {len(missed)}: " + "; ".join(missed) + "."
    text = [INTRODUCTION, f"**{verdict}**\n", "## Floors\n", rows_text(held)]
    for group in groups:
        text += [f"## {group.capitalize()}\n", meanings[group] + "\n", _command(group)]
        text += [
            f"![{plot['caption']}]({FOLDER}/{plot['name']}.svg)\n" for plot in parts[group]["plots"]
        ]
        text += [table_text(_table(one)) for one in parts[group]["tables"]]
        further = [one for one in figures[group] if one.floor is None]
        if further:
            text.append(rows_text(further))
        text.append(_circumstances(parts[group]))
    return "\n".join([*text, AGAIN])


def _command(group: str) -> str:
    return f"Measured with `python -m tests.churn --data FOLDER --{group}`.\n"


def _circumstances(part: Mapping[str, Any]) -> str:
    machine, unrest = part["machine"], part["unrest"]
    stolen = "unknown" if unrest["stolen"] is None else f"{unrest['stolen']:.1%}"
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    size = "The whole run" if part["full"] else "A quick look, not the whole run,"
    return (
        f"{size} of {part['date']}, on {'; '.join(part['data'])}. {machine['cpu']}, "
        f"{machine['cores']} cores; {machine['system']}, indexes on {machine['file_system']}, "
        f"where making a page durable takes {machine['sync_ms']:g} ms. Python {machine['python']}; "
        f"{packages}. Load average before it {unrest['load']:.2f}; {stolen} of the processor time "
        "stolen by the hypervisor.\n"
    )


def _table(kept: Mapping[str, Any]) -> Table:
    return Table(**{**kept, "columns": tuple(kept["columns"])})


def _figure(kept: Mapping[str, Any]) -> Figure:
    """A figure again, as it was when it was measured."""
    values = {one.name: kept[one.name] for one in fields(Figure)}
    for name in ("spread", "peer_spread", "ratio_spread"):
        if values[name] is not None:
            values[name] = Spread(**values[name])
    for name in ("floor", "goal"):
        if values[name] is not None:
            values[name] = Target(**values[name])
    return Figure(**values)
