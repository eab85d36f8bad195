"""What a benchmark finds: a figure, how much it varied, and the targets it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of several measurements of one thing."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """The spread of at least one sample."""
        return cls(min(samples), float(np.median(samples)), max(samples))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach.

    Attributes:
        of: whether the figure itself is held against it, or the ratio to the peer.
        bound: on which side of the limit is good.
        limit: in the figure's unit, or as a factor.
        text: how it is printed.
    """

    of: Literal["ours", "ratio"]
    bound: Literal["at least", "at most"]
    limit: float
    text: str


def times(limit: float) -> Target:
    """At least so many times as good as the peer."""
    return Target("ratio", "at least", limit, f"{limit:g}x")


def within(limit: float, unit: str) -> Target:
    """No more than so much time."""
    return Target("ours", "at most", limit, f"{limit:g} {unit}")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        group: which benchmark it belongs to.
        name: what was measured.
        unit: of ``ours`` and ``peer``.
        ours: the headline.
        spread: of the repeats behind it.
        peer: the same of the peer, if there is one.
        peer_name: who that is.
        peer_spread: of the peer's repeats.
        ratio: how many times as good as the peer we are; above 1 we win.
        ratio_spread: of the repeats, each of ours against the peer's next to it in time.
        floor: what it must reach.
        goal: what it should reach one day.
        later: the goal in words, where it is not this issue's.
        valid: whether a condition on the figure holds, such as a recall; no target is reached
            without it.
        note: what belongs to the figure, first of all the recall of a speed.
        details: the same as numbers for scripts.
    """

    group: str
    name: str
    unit: str
    ours: float
    spread: Spread
    peer: float | None = None
    peer_name: str = ""
    peer_spread: Spread | None = None
    ratio: float | None = None
    ratio_spread: Spread | None = None
    floor: Target | None = None
    goal: Target | None = None
    later: str = ""
    valid: bool = True
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def reaches(self, target: Target) -> bool:
        """Whether the headline is on the good side of a target."""
        value = self.ours if target.of == "ours" else self.ratio
        if value is None or not self.valid:
            return False
        return value >= target.limit if target.bound == "at least" else value <= target.limit

    @property
    def floor_missed(self) -> bool:
        """Whether there is a floor and it is not reached."""
        return self.floor is not None and not self.reaches(self.floor)

    @property
    def verdict(self) -> str:
        """What the column "met?" says; empty for a figure that is only information."""
        if self.floor_missed:
            return "FLOOR MISSED"
        if self.goal is not None and self.reaches(self.goal):
            return "goal met"
        if self.floor is not None:
            return "floor met"
        return "" if self.goal is None else "goal missed"

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A benchmark that could not be run, and why."""

    group: str
    reason: str
    failed: bool
