"""The churn program turns a catalogue over and sees what happens to an index."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.bench.bars import Bars
from tests.bench.dataset import load_sets
from tests.churn import commits, streaming, turnover
from tests.churn.catalogue import SIZES, Catalogue
from tests.churn.changing import FRESHLY, OURS
from tests.churn.runbook import Delete, Insert, Operation, Replace, Runbook, Search, Step
from tests.churn.scale import Scale

TINY = Scale(items=1_000, turnovers=1, passes=1, commits=2)


def test_a_turnover_leaves_no_item_as_it_was_and_as_many_as_before() -> None:
    catalogue = Catalogue(np.eye(256, 4, dtype=np.float32), 1)
    catalogue.take(catalogue.insertions(100))
    before = dict(zip(catalogue.live().tolist(), catalogue._rows[:100].tolist(), strict=True))
    work = catalogue.turnover()
    taken = [catalogue.take(work, part) for part in catalogue.commits(work)]
    assert sum(map(len, taken)) == len(work) == 150
    rows = catalogue._rows[catalogue.live()].tolist()
    after = dict(zip(catalogue.live().tolist(), rows, strict=True))
    assert len(after) == 100
    assert sum(number in after for number in before) == 50
    assert all(after.get(number) != row for number, row in before.items())
    assert len(set(rows)) == 100


def test_commits_of_every_size_cover_the_work_once() -> None:
    catalogue = Catalogue(np.zeros((10, 1), np.float32), 1)
    parts = catalogue.commits(catalogue.insertions(150_000))
    assert {part.stop - part.start for part in parts} >= set(SIZES)
    assert sum(part.stop - part.start for part in parts) == 150_000
    assert all(left.stop == right.start for left, right in pairwise(parts))


@pytest.mark.slow
def test_turnover_and_commit_times_are_measured_on_the_sample(tmp_path: Path) -> None:
    sample = load_sets(None, None, None)[-1]
    figures, (table,), (plot,) = turnover.measure(sample, TINY, tmp_path, Bars())
    stages = table.data["stages"]
    assert [stage["live"] for stage in stages] == [1_000, 1_000, 500, 1_000]
    assert all(stage["same_digest"] and stage["same_answers"] == 1 for stage in stages)
    assert {one.verdict for one in figures[3:5]} == {"floor met"}
    assert plot.svg.endswith("</svg>\n")
    _, (times,), _ = commits.measure(sample, TINY, tmp_path, Bars())
    assert len(times.data["commits"]) == 2


@pytest.mark.slow
def test_a_runbook_is_played_beside_fresh_builds(tmp_path: Path) -> None:
    operations: tuple[Operation, ...] = (
        Insert(range(1_000)), Search(), Replace(range(500), range(1_000, 1_500)),
        Delete(range(400, 600)), Insert(range(1_500, 1_600)), Search(),
    )  # fmt: skip
    steps = tuple(Step(number, one) for number, one in enumerate(operations, 1))
    sample = load_sets(None, None, None)[0]
    played = streaming.play_all(
        sample, Runbook("glosses", 1_000, steps), tmp_path / "runbook", (OURS, FRESHLY), Bars()
    )
    assert [one.live for one in played[0].searches] == [1_000, 900]
    assert [one.digest for one in played[0].searches] == [one.digest for one in played[1].searches]
    assert all(0.9 < search.recall <= 1 for one in played for search in one.searches)
    assert played[0].updates == {"insert": 1_100, "replace": 500, "delete": 200}
    assert {one.verdict for one in streaming.figures_of("tiny", played)} == {"floor met"}
