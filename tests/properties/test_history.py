"""Same family, same live items: same buckets and same answers, whatever the history."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh.datasets import Glosses
from tests.conftest import FAMILIES
from tests.live_entries import Entry, live_entries

ITEMS = 2_500
QUERIES = 60


@dataclass(frozen=True)
class Outcome:
    """Everything that may not depend on the history."""

    digest: str
    entries: dict[str, list[Entry]]
    answers: list[tuple[list[str], NDArray[np.float32]]]


def content(sample: Glosses) -> list[Upsert]:
    """The final items: every third has a version, some have tags and attributes."""
    return [
        Upsert(
            name,
            vector,
            7 if place % 3 == 0 else None,
            ("noun", f"t{place % 5}") if place % 4 == 0 else (),
            {"text": text} if place % 2 else None,
        )
        for place, (name, vector, text) in enumerate(
            zip(sample.ids[:ITEMS], sample.vectors[:ITEMS], sample.texts[:ITEMS], strict=True)
        )
    ]


def commit_all(path: Path, updates: list[Upsert | Delete], sizes: Iterator[int]) -> None:
    """Apply updates in commits of these sizes, by a new writer every few commits."""
    at = 0
    while at < len(updates):
        with streamlsh.writer(path) as writer:
            for _ in range(4):
                size = next(sizes)
                writer.stage(updates[at : at + size])
                writer.commit()
                at += size


def sizes(rng: random.Random, low: int, high: int) -> Iterator[int]:
    while True:
        yield rng.randint(low, high)


def at_once(path: Path, items: list[Upsert], _others: list[Upsert]) -> None:
    with streamlsh.writer(path) as writer:
        writer.stage(items)


def shuffled_in_small_batches(path: Path, items: list[Upsert], _others: list[Upsert]) -> None:
    rng = random.Random(1)
    commit_all(path, rng.sample(items, len(items)), sizes(rng, 1, 120))


def replaced_and_late(path: Path, items: list[Upsert], others: list[Upsert]) -> None:
    """Older versions come before and after, and change nothing; the rest is replaced in order."""
    rng = random.Random(2)
    old = [Upsert(i.id, o.vector, None if i.version is None else rng.randint(-5, 6), ("old",))
           for i, o in zip(items, others, strict=True)]  # fmt: skip
    early = rng.sample(old, len(old))
    late = [update for update in rng.sample(old, len(old)) if update.version is not None]
    commit_all(path, [*early, *rng.sample(items, len(items)), *late], sizes(rng, 50, 900))


def deleted_and_inserted_again(path: Path, items: list[Upsert], others: list[Upsert]) -> None:
    rng = random.Random(3)
    first = [Upsert(update.id, other.vector) for update, other in zip(items, others, strict=True)]
    strangers = [Upsert(f"stranger-{place}", other.vector) for place, other in enumerate(others)]
    gone: list[Upsert | Delete] = [Delete(update.id) for update in [*first, *strangers]]
    rng.shuffle(gone)
    commit_all(path, [*first, *strangers, *gone, *items[::-1]], sizes(rng, 200, 1500))
    with streamlsh.writer(path) as writer:  # and half of it once more, in one commit
        writer.stage([Delete(update.id) for update in items[::2] if update.version is None])
        writer.stage([update for update in items[::2] if update.version is None])


HISTORIES: list[Callable[[Path, list[Upsert], list[Upsert]], None]] = [
    at_once, shuffled_in_small_batches, replaced_and_late, deleted_and_inserted_again,
]  # fmt: skip


def look(path: Path, queries: NDArray[np.float32]) -> Outcome:
    with streamlsh.open(path) as reader:
        reader.verify()
        answers = []
        for k, probes in ((10, None), (100, None), (10, 1), (10, 12), (100, 64)):
            hits = reader.search(queries, k, probes=probes)
            assert hits.plan.route == ("tables" if probes else "scan")
            answers += list(zip(hits.ids, hits.scores, strict=True))
        return Outcome(reader.digest(), live_entries(reader), answers)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_index_depends_on_its_content_and_not_on_its_history(
    family: str, sample: Glosses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.buckets.segment.RATIO", 2)
    monkeypatch.setattr("streamlsh.families.voronoi.SCAN_BELOW", 20_000)
    monkeypatch.setattr("streamlsh.buckets.segment.TAIL_ENTRIES", 2048)
    monkeypatch.setattr("streamlsh.buckets.tail.TAIL_ENTRIES", 2048)
    empty = tmp_path / "empty"
    streamlsh.create(empty, dim=384, family=family, sample=sample.vectors)
    items = content(sample)
    others = [Upsert("", vector) for vector in sample.vectors[ITEMS : 2 * ITEMS]]
    queries = sample.vectors[-QUERIES:]
    outcomes = []
    for history in HISTORIES:
        path = tmp_path / history.__name__
        shutil.copytree(empty, path)
        history(path, items, others)
        outcomes.append(look(path, queries))
    first = outcomes[0]
    assert set(first.entries) == set(sample.ids[:ITEMS])
    for other in outcomes[1:]:
        assert other.digest == first.digest
        assert other.entries == first.entries
        for (ids, scores), (other_ids, other_scores) in zip(
            first.answers, other.answers, strict=True
        ):
            assert scores.tobytes() == other_scores.tobytes()
            assert len(set(scores.tolist())) < len(scores) or ids == other_ids


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_to_any_query_do_not_depend_on_the_order_of_the_items(
    family: str, sample: Glosses, tmp_path: Path
) -> None:
    """Random directions are as far from every item as can be: many sketches score the same.

    Wherever candidates of one sketch score are cut, something of the item must decide which of
    them stay, not the order in which they came.
    """
    queries = np.random.default_rng(0).standard_normal((100, 384))
    empty = tmp_path / "empty"
    streamlsh.create(empty, dim=384, family=family, sample=sample.vectors)
    answers = []
    for history in range(2):
        path = tmp_path / f"{history}"
        shutil.copytree(empty, path)
        order = list(range(len(sample)))
        if history:
            random.Random(5).shuffle(order)
        with streamlsh.writer(path) as writer:
            writer.upsert([sample.ids[row] for row in order], sample.vectors[order])
        with streamlsh.open(path) as reader:
            answers.append([reader.search(queries, k) for k in (10, 100)])
    for one, other in zip(*answers, strict=True):
        differing = [
            query
            for query, (ours, theirs) in enumerate(zip(one.scores, other.scores, strict=True))
            if ours.tobytes() != theirs.tobytes()
        ]
        assert differing == [], "queries whose answers depend on the history"
