"""What was measured of an index: which probes and re-ranks reach which recall at which cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgpack

MARGIN = 0.002
"""Recall on other queries is a little lower or higher than on those that were measured: a setting
must reach so much more than is asked for."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to search, as it was measured.

    Attributes:
        probes: buckets to look into at most; 0 for the scan of all sketches.
        reach: buckets are left out that are less promising than the best by more than this.
        rerank: candidates scored by their codes.
        recall: mean share of the true neighbours found.
        entries: mean number of entries scored.
    """

    probes: int
    reach: float
    rerank: int
    recall: float
    entries: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The settings worth choosing, and what they cost.

    A query costs about ``base + entry * entries + rerank * reranks`` microseconds, ``base``
    being less by ``hashing`` for a scan of all sketches, whose entries are also cheaper.

    Attributes:
        items: how many items the index held.
        queries: how many queries were measured.
        source: ``"items"`` or ``"queries"``: where the queries came from.
        costs: microseconds: fixed part by tables, per entry there, fixed part by a scan, per
            entry there, per re-ranked candidate.
        settings: for each k that was measured, by falling cost.
    """

    items: int
    queries: int
    source: str
    costs: tuple[float, float, float, float, float]
    settings: dict[int, tuple[Setting, ...]]

    def cost(self, setting: Setting, live: int) -> float:
        """Microseconds of a query, now that the index holds ``live`` items."""
        tables, entry, scan, scan_entry, rerank = self.costs
        entries = setting.entries * live / max(self.items, 1)
        if setting.probes == 0:
            return scan + scan_entry * entries + rerank * setting.rerank
        return tables + entry * entries + rerank * setting.rerank

    def cheapest(self, k: int, live: int, recall: float) -> Setting | None:
        """The cheapest setting that promises the recall, or ``None``.

        Between two settings that differ only in how wide they probe, one in between is taken.
        """
        wanted = min(recall + MARGIN, 0.9999)
        ways: dict[tuple[int, bool, bool], list[Setting]] = {}
        for setting in self._of(k):
            way = setting.rerank, setting.probes == 0, math.isinf(setting.reach)
            ways.setdefault(way, []).append(setting)
        enough = [found for way in ways.values() if (found := _narrowest(way, wanted))]
        return min(enough, key=lambda s: self.cost(s, live)) if enough else None

    def best_recall(self, k: int) -> float:
        """The highest recall of any setting."""
        return max(setting.recall for setting in self._of(k))

    @property
    def largest_k(self) -> int:
        """The largest number of neighbours that was measured."""
        return max(self.settings)

    def scale(self, k: int) -> float:
        """What to multiply re-ranks with: more neighbours than were measured need more."""
        return max(1.0, k / self.largest_k)

    def _of(self, k: int) -> tuple[Setting, ...]:
        """The settings of the least k that was measured and is no less; or of the largest."""
        measured = sorted(self.settings)
        return self.settings[next((m for m in measured if m >= k), measured[-1])]

    def pack(self) -> bytes:
        """As stored."""
        settings = [
            [k, [[s.probes, s.reach, s.rerank, s.recall, s.entries] for s in group]]
            for k, group in sorted(self.settings.items())
        ]
        packed: bytes = msgpack.packb(
            [self.items, self.queries, self.source, list(self.costs), settings]
        )
        return packed

    @staticmethod
    def unpack(packed: bytes) -> Calibration:
        """From what ``pack`` gave.

        Raises:
            ValueError: something else was stored there; likewise TypeError.
        """
        fields: Any = msgpack.unpackb(packed)
        items, queries, source, costs, settings = fields
        calibration = Calibration(
            items, queries, source, _five(costs),
            {k: tuple(Setting(*values) for values in group) for k, group in settings},
        )  # fmt: skip
        calibration._check()
        return calibration

    def _check(self) -> None:
        """Raise ``ValueError`` unless there are only numbers, and those that can be."""
        measured = [setting for group in self.settings.values() for setting in group]
        counts = [self.items, self.queries, *self.settings]
        counts += [count for s in measured for count in (s.probes, s.rerank)]
        shares = [share for s in measured for share in (s.recall, s.entries)]
        if (
            not all(type(count) is int and 0 <= count < 2**63 for count in counts)
            or not all(type(cost) in {int, float} and math.isfinite(cost) for cost in self.costs)
            or not all(type(share) in {int, float} and 0 <= share < math.inf for share in shares)
            or not all(type(s.reach) in {int, float} and s.reach >= 0 for s in measured)
            or type(self.source) is not str
            or not self.settings
            or not all(k >= 1 and group for k, group in self.settings.items())
        ):
            raise ValueError("a calibration of other fields")


def _five(costs: Any) -> tuple[float, float, float, float, float]:
    tables, entry, scan, scan_entry, rerank = costs
    return tables, entry, scan, scan_entry, rerank


def _narrowest(settings: list[Setting], wanted: float) -> Setting | None:
    """The narrowest probing that reaches a recall, of settings that differ in nothing else.

    Recall grows with the width ever more slowly, so a straight line between two measured points
    promises too little rather than too much.
    """
    below: Setting | None = None
    for setting in sorted(settings, key=lambda s: (s.probes, s.reach)):
        if setting.recall < wanted:
            below = setting
            continue
        if below is None or setting.probes == 0:
            return setting
        share = (wanted - below.recall) / (setting.recall - below.recall)
        probes = setting.probes
        if math.isinf(setting.reach):
            probes = math.ceil(below.probes * (setting.probes / below.probes) ** share)
        return Setting(
            probes,
            setting.reach
            if math.isinf(setting.reach)
            else below.reach + share * (setting.reach - below.reach),
            setting.rerank,
            wanted,
            below.entries + share * (setting.entries - below.entries),
        )
    return None
