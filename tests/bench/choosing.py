"""The cheapest setting of a peer that reaches a recall, found on queries kept for choosing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.peers.base import Line, Peer, Setting, padded
from tests.bench.truth import Truth

PROBE_QUERIES = 5
TRIAL_SECONDS = 0.4
FEWEST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """What a setting reached on the choosing half.

    Attributes:
        setting: which.
        recall: recall@10.
        microseconds: a query.
    """

    setting: Setting
    recall: float
    microseconds: float


class Chooser:
    """Tries settings of one peer, each once.

    Args:
        peer: a built one.
        truth: of the choosing half.
    """

    def __init__(self, peer: Peer, truth: Truth) -> None:
        self._peer = peer
        self._truth = truth
        self._queries = peer.prepare(truth.queries)
        self._trials: dict[Setting, Trial] = {}

    def cheapest(self, recall: float) -> Setting | None:
        """The setting for a recall; ``None`` if no knob gets there."""
        known = self._peer.setting_for(recall)
        if known is not None:
            return known
        reached = [trial for line in self._peer.lines() if (trial := self._along(line, recall))]
        if not reached:
            return None
        return min(reached, key=lambda trial: trial.microseconds).setting

    def best(self) -> Trial:
        """The highest recall among what was tried."""
        return max(self._trials.values(), key=lambda trial: trial.recall)

    def _along(self, line: Line, recall: float) -> Trial | None:
        knobs = line.knobs()
        first = smallest(
            0, len(knobs) - 1, lambda at: self._try(line.at(knobs[at])).recall >= recall
        )
        return None if first is None else self._try(line.at(knobs[first]))

    def _try(self, setting: Setting) -> Trial:
        trial = self._trials.get(setting)
        if trial is None:
            ask = self._peer.asker(setting)
            started = time.perf_counter()
            for query in self._queries[:PROBE_QUERIES]:
                ask(query)
            probe = (time.perf_counter() - started) / len(self._queries[:PROBE_QUERIES])
            count = max(FEWEST_QUERIES, int(TRIAL_SECONDS / probe))
            queries = self._queries[:count]
            started = time.perf_counter()
            answers = [ask(query) for query in queries]
            seconds = time.perf_counter() - started
            labels = padded(map(self._peer.labels, answers))
            trial = Trial(setting, self._truth.recall(labels), 1e6 * seconds / len(queries))
            self._trials[setting] = trial
        return trial


def smallest(low: int, high: int, reached: Callable[[int], bool]) -> int | None:
    """The smallest number from ``low`` to ``high`` that reaches, if more always helps."""
    known, step = low - 1, 1
    at = low
    while not reached(at):
        if at == high:
            return None
        known, at = at, min(at + step, high)
        step *= 2
    while at - known > 1:
        middle = (known + at) // 2
        if reached(middle):
            at = middle
        else:
            known = middle
    return at
