"""``search`` and ``get``: ask an index."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlsh
from streamlsh.cli.errors import ItemNotFoundError
from streamlsh.cli.files.arrays import open_array
from streamlsh.cli.files.rows import float32
from streamlsh.cli.items import item_fields, position_fields
from streamlsh.cli.output import print_json, print_lines, print_table

_SHOWN_NUMBERS = 8


def search(options: Namespace) -> None:
    """Print the nearest items, with the commit that the answer reflects."""
    vectors = None if options.vector is None else float32(open_array(Path(options.vector)))
    wanted: dict[str, Any] = {
        "k": options.k,
        "recall": 1.0 if options.exact else options.recall,
        "tags": options.tags,
        "exclude": options.exclude,
    }
    with streamlsh.open(options.path) as reader, reader.snapshot() as snapshot:
        if vectors is None:
            hits = snapshot.search_ids(options.ids, **wanted)
        else:
            hits = snapshot.search(vectors, **wanted)
        single = vectors is None or vectors.ndim == 1
        columns = ([hits.ids], [hits.scores]) if single else (hits.ids, hits.scores)
        answers = [
            [
                {"id": item, "score": float(score), **_attributes(snapshot, item, options)}
                for item, score in zip(ids, scores, strict=True)
            ]
            for ids, scores in zip(*columns, strict=True)
        ]
    if options.json:
        print_json(
            {
                "hits": answers[0] if single else answers,
                "commit": hits.commit,
                "positions": position_fields(hits.positions.values()),
                "plan": hits.plan._asdict(),
            }
        )
        return
    for number, answer in enumerate(answers):
        _print_answer(answer, "" if single else f"query {number}")
    print(f"commit {hits.commit}; {_as_line(hits.plan)}")


def get(options: Namespace) -> None:
    """Print one item."""
    with streamlsh.open(options.path) as reader:
        item = reader.get(options.id)
    if item is None:
        raise ItemNotFoundError(f"{options.path} has no item {options.id!r}")
    if options.json:
        print_json(item_fields(item))
        return
    numbers = ", ".join(f"{number:.4f}" for number in item.vector[:_SHOWN_NUMBERS])
    print_lines(
        [
            ("id", item.id),
            ("version", "none" if item.version is None else str(item.version)),
            ("tags", ", ".join(item.tags) or "none"),
            ("attributes", _as_text(item.attributes)),
            ("vector", f"[{numbers}, ...] {len(item.vector)} numbers"),
        ]
    )


def _as_line(plan: streamlsh.Plan) -> str:
    """How an answer was found, why, and what it promises."""
    how = {
        "tables": f"tables, {plan.probes:,.0f} buckets and",
        "scan": "scan of all sketches,",
        "exact": "scan of all vectors,",
    }.get(plan.route)
    if how is None:
        return f"nothing to look for ({plan.reason})"
    line = f"{how} {plan.candidates:,.0f} candidates, {plan.share:.1%} of the index"
    if plan.recall is not None:
        line += f", recall {plan.recall:.3f}"
    if plan.dropped:
        line += f", {plan.dropped:,.0f} dropped in ties"
    return f"{line} ({plan.reason})"


def _attributes(
    snapshot: streamlsh.Snapshot, item: str, options: Namespace
) -> dict[str, dict[str, Any] | None]:
    if not options.attributes:
        return {}
    found = snapshot.get(item)
    return {"attributes": None if found is None else found.attributes}


def _print_answer(answer: Sequence[dict[str, Any]], title: str) -> None:
    if title:
        print(title)
    if not answer:
        print("nothing found")
        return
    columns = ["rank", *answer[0]]
    print_table(
        columns,
        (
            [
                rank,
                hit["id"],
                f"{hit['score']:.4f}",
                *([_as_text(hit["attributes"])] if "attributes" in hit else []),
            ]
            for rank, hit in enumerate(answer, start=1)
        ),
    )


def _as_text(attributes: dict[str, Any] | None) -> str:
    return "none" if attributes is None else json.dumps(attributes, ensure_ascii=False)
