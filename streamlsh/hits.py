"""Answers to queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlsh.updates import Position


class Plan(NamedTuple):
    """How a query was answered.

    Attributes:
        route: ``"tables"`` (probed buckets), ``"scan"`` (the sketches of all items),
            ``"exact"`` (all vectors) or ``"none"`` (nothing to search for).
        probes: buckets that were looked into, the mean over a batch.
        candidates: entries or rows that were scored, copies of an item and dead ones included,
            the mean over a batch.
        share: candidates over live items, at most 1.
        dropped: candidates that were passed over because they tied with one that was kept, as
            the copies of one vector do, the mean over a batch. Of those that tie, the first by
            id stay.
        recall: what calibration promises, ``None`` where nothing was measured.
        reason: why this route was taken.
    """

    route: str
    probes: float
    candidates: float
    share: float
    dropped: float
    recall: float | None
    reason: str


@dataclass(slots=True)  # not frozen: that costs a query a microsecond and protects little
class Hits:
    """Neighbours of one vector, or of many.

    Attributes:
        ids: the neighbours' ids, best first; a list of lists for a batch.
        scores: float32 in the metric's natural form (cosine similarity, inner product or
            Euclidean distance), (hits,); a list of such arrays for a batch. Equal
            scores are ordered by id.
        commit: number of the commit that was looked at.
        positions: the source positions that this commit reflects, by (stream, partition).
        plan: how the answer was found.
    """

    ids: Any
    scores: Any
    commit: int
    positions: Mapping[tuple[str, int], Position]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item.

    Attributes:
        id: its id.
        vector: (dim,) float32, as it was given.
        version: its explicit version, or ``None``.
        tags: its tags, sorted.
        attributes: its attributes, or ``None``.
    """

    id: str
    vector: NDArray[np.float32]
    version: int | None
    tags: tuple[str, ...]
    attributes: dict[str, Any] | None
