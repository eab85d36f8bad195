"""Turnover after turnover of one index, each time beside a fresh build of the live items."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import streamlsh
from tests.bench.bars import Bars
from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Spread, Target, within
from tests.bench.peers.base import Setting, padded
from tests.bench.racing import Contestant, race
from tests.bench.tables import Plot, Table, number
from tests.bench.truth import Truth
from tests.churn.catalogue import Catalogue, Work
from tests.churn.indexes import Lived, file_bytes, fresh_build, new_family, used_bytes
from tests.churn.plots import size_plot
from tests.churn.scale import Scale, fitting

GROUP = "turnover"
MEANING = """\
One index under updates, in commits of 1 to 20,000. In a turnover half of the items are replaced;
each of the others is deleted and a new one inserted. After it, the live items are built into a
fresh index of the same family in the way `streamlsh load` does, a thousand a commit; both are then
asked the same held-out queries in turns. The file's length is what the system shows. Used pages
are those of the tables in it; the rest is free to be used again. In the end half of the items are
deleted for good, and as many new ones inserted. LMDB never gives a file's pages back, so the
promise there is that they are used again: the file must not grow."""

RECALL = 0.95
MOST_TIMES_FRESH = 1.5
SAME_SIZE = 1.01
"""A file that did not grow, but for a hundredth."""
LEAST_SPEED = 0.95
"""Of a fresh index's speed: what the clock cannot tell from equal."""
MOST_RECALL_LOST = 0.005
SEED = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """What was seen after a turnover, or another piece of work.

    Attributes:
        name: of the work.
        live: items.
        commits: that the work took.
        file: bytes of the file.
        used: bytes of its pages in use.
        fresh_file: bytes of the fresh build's file.
        same_digest: whether both hold the same by their digests.
        recall: recall@10 of the index.
        fresh_recall: of the fresh build.
        same_answers: share of the queries whose ids are equal, in the same order.
        rates: queries/s, pass by pass.
        fresh_rates: of the fresh build in the same passes.
    """

    name: str
    live: int
    commits: int
    file: int
    used: int
    fresh_file: int
    same_digest: bool
    recall: float
    fresh_recall: float
    same_answers: float
    rates: Sequence[float]
    fresh_rates: Sequence[float]

    @property
    def ratio(self) -> float:
        """The file beside the fresh one."""
        return self.file / self.fresh_file


class Life:
    """One index from its fill to the end.

    Args:
        dataset: whose items are the pool of vectors.
        scale: how large the catalogue is, and how often queries are timed.
        folder: scratch space.
        bars: where progress is shown.
    """

    def __init__(self, dataset: Dataset, scale: Scale, folder: Path, bars: Bars) -> None:
        self._queries, self._scale = dataset.scored, scale
        self._folder, self._bars = folder, bars
        self._catalogue = Catalogue(dataset.items, SEED)
        self._family = folder / "family"
        self._path = folder / "lived"

    def run(self) -> list[Stage]:
        """Fill, turn over, delete one half, fill again."""
        catalogue = self._catalogue
        items = fitting(self._scale.items, len(catalogue.pool))
        self._bars.say(f"  training the family, filling {items:,} items")
        new_family(catalogue.pool, self._family)
        catalogue.take(catalogue.insertions(items))
        fresh_build(catalogue, self._family, self._path, None)
        calibration = streamlsh.calibrate(self._path)
        with streamlsh.writer(self._path) as writer:
            stages = [self._look("filled", 0, calibration)]
            for turn in range(1, self._scale.turnovers + 1):
                commits = self._apply(writer, catalogue.turnover())
                stages.append(self._look(f"turnover {turn}", commits, calibration))
            commits = self._apply(writer, catalogue.deletions(items // 2))
            stages.append(self._look("half deleted", commits, calibration))
            commits = self._apply(writer, catalogue.insertions(items // 2))
            stages.append(self._look("as many inserted", commits, calibration))
        return stages

    def _apply(self, writer: streamlsh.Writer, work: Work) -> int:
        parts = self._catalogue.commits(work)
        with self._bars.bar("updates", len(work)) as advance:
            for part in parts:
                batch = self._catalogue.take(work, part)
                writer.stage(self._catalogue.updates(batch))
                writer.commit()
                advance(len(batch))
        return len(parts)

    def _look(self, name: str, commits: int, calibration: streamlsh.Calibration) -> Stage:
        self._bars.say(f"  {name}: a fresh build beside it")
        path = self._folder / "fresh"
        pair = Lived(self._path), fresh_build(self._catalogue, self._family, path, calibration)
        truth = Truth.of(self._catalogue.vectors(), self._queries)
        field = [Contestant(one, Setting(f"recall={RECALL}", (RECALL,)), RECALL) for one in pair]
        for one in pair:
            one.places = self._catalogue.places()
        with self._bars.bar("queries", 2 + 2 * self._scale.passes) as advance:
            race(field, truth, self._scale.passes, advance)
        answers = [
            padded(map(one.labels, map(one.asker(field[0].setting), self._queries))) for one in pair
        ]
        stage = Stage(
            name, len(self._catalogue), commits,
            file_bytes(self._path), used_bytes(pair[0].reader), file_bytes(path),
            pair[0].reader.digest() == pair[1].reader.digest(),
            truth.recall(answers[0]), truth.recall(answers[1]),
            float(np.mean((answers[0] == answers[1]).all(axis=1))),
            [1e6 / one for one in field[0].microseconds],
            [1e6 / one for one in field[1].microseconds],
        )  # fmt: skip
        for one in pair:
            one.close()
        shutil.rmtree(path)
        return stage


def measure(
    dataset: Dataset, scale: Scale, folder: Path, bars: Bars
) -> tuple[list[Figure], list[Table], list[Plot]]:
    """Run it; what the page shows."""
    stages = Life(dataset, scale, folder, bars).run()
    return _figures(stages, scale), [_table(stages)], [size_plot(GROUP, stages)]


def _figures(stages: list[Stage], scale: Scale) -> list[Figure]:
    turned = stages[1 : scale.turnovers + 1]
    before, deleted, after = stages[-3:]
    middle = turned[len(turned) // 2 - 1] if len(turned) > 1 else turned[0]
    speeds = [
        ours / fresh
        for one in turned
        for ours, fresh in zip(one.rates, one.fresh_rates, strict=True)
    ]
    unequal = [one.name for one in stages if not one.same_digest]
    lost = [max(0.0, one.fresh_recall - one.recall) for one in stages]
    same = [one.same_answers for one in stages]
    worst = max(one.ratio for one in turned)
    refilled = [one.file / before.file for one in (deleted, after)]
    return [
        _at_most("file beside a fresh build's, the largest after a turnover", worst,
                 MOST_TIMES_FRESH, [one.ratio for one in turned]),
        _at_most(f"file after the last turnover beside that after {middle.name}",
                 turned[-1].file / middle.file, SAME_SIZE),
        _at_most("file after half was deleted and as many inserted, beside that before",
                 max(refilled), SAME_SIZE, refilled),
        Figure(GROUP, "digests that differ from a fresh build's", f"of {len(stages)}",
               len(unequal), Spread.of([len(unequal)]),
               floor=Target("ours", "at most", 0, "0"), note=", ".join(unequal)),
        Figure(GROUP, "recall@10 lost against a fresh build, the most", "", max(lost),
               Spread.of(lost), floor=within(MOST_RECALL_LOST, ""),
               note=f"equal answers, in order: {min(same):.1%} of the queries or more"),
        Figure(GROUP, "queries/s beside a fresh build's, all turnovers", "x",
               float(np.median(speeds)), Spread.of(speeds),
               floor=Target("ours", "at least", LEAST_SPEED, f"{LEAST_SPEED:g}x")),
    ]  # fmt: skip


def _at_most(name: str, value: float, limit: float, samples: Sequence[float] = ()) -> Figure:
    spread = Spread.of(samples or [value])
    return Figure(GROUP, name, "x", value, spread, floor=within(limit, "x"))


def _table(stages: list[Stage]) -> Table:
    rows = [
        [
            one.name, f"{one.live:,}", f"{one.commits:,}", f"{one.file / 2**20:,.0f}",
            f"{one.used / 2**20:,.0f}", f"{one.fresh_file / 2**20:,.0f}", f"{one.ratio:.2f}x",
            "equal" if one.same_digest else "DIFFERENT",
            f"{one.recall:.4f} / {one.fresh_recall:.4f}", f"{one.same_answers:.1%}",
            f"{number(np.median(one.rates))} / {number(np.median(one.fresh_rates))}",
        ]
        for one in stages
    ]  # fmt: skip
    columns = (
        "after", "live items", "commits", "file, MiB", "used", "fresh", "ratio", "digest",
        "recall@10 / fresh", "equal answers", "queries/s / fresh",
    )  # fmt: skip
    return Table(GROUP, "An index beside fresh builds", columns, rows,
                 {"stages": [asdict(one) for one in stages]})  # fmt: skip
