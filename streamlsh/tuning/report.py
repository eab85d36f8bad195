"""What ``tune`` hands back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from streamlsh.tuning.occupancy import Occupancy


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to search a sample's index, as it was measured there.

    Attributes:
        match: tables in which an item must appear: 1 is any (OR), all of them is AND.
        probes: buckets to look into at most; 0 for a scan of all sketches.
        reach: buckets are left out that are less promising than the best by more than this.
        rerank: candidates scored by their codes.
        predicted: recall@10 on the queries that choices are made on.
        measured: recall@10 on the other queries.
        buckets: looked into by a query.
        candidates: entries scored by a query at the planned number of items.
        microseconds: what a query costs there, by the cost model.
    """

    match: int
    probes: int
    reach: float
    rerank: int
    predicted: float
    measured: float
    buckets: float
    candidates: float
    microseconds: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A family with its parameters, and the cheapest way to reach the recall with it.

    Attributes:
        family: name of the family.
        parameters: as ``create`` takes them.
        tables: number of its tables.
        way: how it is searched.
        occupancy: of its buckets at the planned number of items.
        scan_below: up to so many items the planner scans all sketches with this family.
        disk_bytes: size of the index there, of a fresh build.
        memory_bytes: the part of it that answers read all over, and that should stay in memory:
            entries, codes and directories. Of the vectors a query reads a dozen rows.
    """

    family: str
    parameters: dict[str, Any]
    tables: int
    way: Measured
    occupancy: Occupancy
    scan_below: int
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A family with its parameters, and everything that was measured of it.

    Attributes:
        family: name of the family.
        parameters: as ``create`` takes them.
        exponent: the entries that reach the recall grow as this power of the items.
        ways: how it was searched.
    """

    family: str
    parameters: dict[str, Any]
    exponent: float
    ways: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class TuneReport:
    """Which index to make for a number of items like those of a sample, and what it will cost.

    Costs are in microseconds of a query on one thread, by a model of counts and fixed costs, so
    that the same sample gives the same report.

    Attributes:
        items: the planned number of items.
        recall: the recall@10 that was asked for.
        dim: length of the vectors.
        metric: how they are compared.
        bucket_size: the mean number of entries of a bucket that was asked for, or ``None``.
        rows: rows of the sample that were indexed.
        queries: rows that were held out as queries; one half chooses, the other half checks.
        route: what is cheapest: ``"tables"``, ``"scan"`` (of all sketches) or ``"exact"`` (of
            all vectors).
        reason: why, in a sentence.
        best: the cheapest choice by tables, ``None`` if none reaches the recall.
        choices: the cheapest way of every family, parameters and match that reaches the recall,
            cheapest first.
        scan: the cheapest scan of all sketches that reaches it, or ``None``.
        exact_microseconds: what scoring all vectors costs.
        trials: everything that was measured.
    """

    items: int
    recall: float
    dim: int
    metric: str
    bucket_size: float | None
    rows: int
    queries: int
    route: str
    reason: str
    best: Choice | None
    choices: tuple[Choice, ...]
    scan: Choice | None
    exact_microseconds: float
    trials: tuple[Trial, ...]

    @property
    def recommended(self) -> Choice | None:
        """The index to make; ``None`` if nothing but a scan of all vectors reaches the recall."""
        return self.best if self.route == "tables" else self.scan or self.best

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; a reach without limit is null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
