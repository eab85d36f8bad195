"""Contestants take turns over the same queries; each remembers how fast every pass was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tests.bench.dataset import Dataset
from tests.bench.figures import Spread
from tests.bench.peers.base import I64, Peer, Setting, padded
from tests.bench.truth import Truth

PASS_SECONDS = 0.3
SCORE_SECONDS = 3.0
FEWEST_TIMED = 5
FEWEST_SCORED = 40
PROBE_QUERIES = 5
WARM = 10
SEED = 3


@dataclass(slots=True, eq=False)
class Contestant:
    """A peer at one setting, asked in one way.

    Attributes:
        peer: who.
        setting: how thorough.
        target: the recall that the setting was chosen for; 0 if for none.
        threads: of a batch; 0 for one query a call with one thread.
        microseconds: a query, pass by pass.
        recall: on the scored half.
        scored: how many queries of it.
    """

    peer: Peer
    setting: Setting
    target: float = 0.0
    threads: int = 0
    microseconds: list[float] = field(default_factory=list)
    recall: float = 0.0
    scored: int = 0
    _timed: int = 0

    @property
    def title(self) -> str:
        """The peer's, and how it is asked."""
        if self.threads == 0:
            return self.peer.title
        return f"{self.peer.title}, batched" + (f", {self.threads} threads" * (self.threads > 1))

    @property
    def spread(self) -> Spread:
        """Of the passes."""
        return Spread.of(self.microseconds)

    @property
    def described(self) -> str:
        """Recall and setting."""
        return f"recall {self.recall:.3f} with {self.setting.text}"

    def score(self, truth: Truth) -> None:
        """Measure the recall, on fewer queries if the peer is slow; it warms up as well."""
        if self.threads:
            answer = self.peer.batch_asker(self.setting, self.threads)(truth.queries)
            labels = padded(self.peer.batch_labels(answer))
            self._timed = len(truth.queries)
        else:
            ask, queries = self.peer.asker(self.setting), self.peer.prepare(truth.queries)
            seconds, _ = _timed(ask, queries[:PROBE_QUERIES])
            count = min(len(queries), max(FEWEST_SCORED, int(SCORE_SECONDS / seconds)))
            seconds, answers = _timed(ask, queries[:count])
            labels = padded(map(self.peer.labels, answers))
            self._timed = min(len(queries), max(FEWEST_TIMED, int(PASS_SECONDS / seconds)))
        self.scored = len(labels)
        self.recall = truth.recall(labels)

    def run(self, truth: Truth, order: I64) -> None:
        """One timed pass, after a tenth of it that is not timed: others had the caches."""
        queries = np.ascontiguousarray(truth.queries[order[: self._timed]])
        warm = queries[-max(1, len(queries) // WARM) :]
        if self.threads:
            ask = self.peer.batch_asker(self.setting, self.threads)
            ask(warm)
            started = time.perf_counter()
            ask(queries)
            seconds = (time.perf_counter() - started) / len(queries)
        else:
            ask = self.peer.asker(self.setting)
            _timed(ask, self.peer.prepare(warm))
            seconds, _ = _timed(ask, self.peer.prepare(queries))
        self.microseconds.append(1e6 * seconds)


@dataclass(slots=True, eq=False)
class Race:
    """One set and everybody who runs on it.

    Attributes:
        dataset: the set.
        contestants: who runs.
        interpreter: microseconds that the interpreter adds to a query of ours, query by query.
        short: by (title, recall) what a peer reached at most that did not reach that recall.
    """

    dataset: Dataset
    contestants: list[Contestant] = field(default_factory=list)
    interpreter: list[float] = field(default_factory=list)
    short: dict[tuple[str, float], str] = field(default_factory=dict)

    def find(self, title: str, target: float = 0.0, threads: int = 0) -> Contestant | None:
        """A contestant by what it is."""
        for one in self.contestants:
            if (one.peer.title, one.target, one.threads) == (title, target, threads):
                return one
        return None


def race(
    field: Sequence[Contestant], truth: Truth, passes: int, advance: Callable[[int], None]
) -> None:
    """Score everybody, then let them run in turns, each pass over new random orders.

    Args:
        field: who takes part.
        truth: of the scored half.
        passes: how often each runs.
        advance: told of every turn.
    """
    rng = np.random.default_rng(SEED)
    with threadpool_limits(1):
        for one in field:
            one.score(truth)
            advance(1)
        for number in range(passes):
            order = rng.permutation(len(truth.queries))
            start = number % len(field)
            for one in [*field[start:], *field[:start]]:
                one.run(truth, order)
                advance(1)


def ratios(ours: Contestant, peer: Contestant) -> Spread:
    """How many times as fast we are, pass by pass."""
    pairs = zip(ours.microseconds, peer.microseconds, strict=True)
    return Spread.of([theirs / mine for mine, theirs in pairs])


def _timed(ask: Callable[[Any], Any], queries: Sequence[Any]) -> tuple[float, list[Any]]:
    """Seconds a query, and the answers."""
    started = time.perf_counter()
    answers = [ask(query) for query in queries]
    return (time.perf_counter() - started) / len(queries), answers
