"""What an exact scan finds, and recall@10 against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.peers.base import F32, I64, K

CHUNK = 200
DEPTH = 4 * K
"""How many float32 scores are computed again in float64, so that equal vectors score equal."""
SAME = 1e-9
"""Scores this close are ties."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Queries over items, and how near the tenth neighbour of each is.

    Attributes:
        items: float32 (n, dim).
        queries: float32 (q, dim).
        tenth: float64 (q,) score of the tenth best item.
    """

    items: F32
    queries: F32
    tenth: npt.NDArray[np.float64]

    @classmethod
    def of(cls, items: F32, queries: F32) -> Truth:
        """Scan every item for every query."""
        depth = min(DEPTH, len(items))
        found = []
        for start in range(0, len(queries), CHUNK):
            chunk = queries[start : start + CHUNK]
            rough = chunk @ items.T
            best = np.argpartition(rough, -depth, axis=1)[:, -depth:]
            found.append(np.sort(_scores(items, best, chunk), axis=1)[:, -K])
        return cls(items, queries, np.concatenate(found))

    def recall(self, labels: I64, rows: I64 | None = None) -> float:
        """Mean share of the ten nearest that were found; whoever ties with the tenth counts.

        Args:
            labels: (m, K) numbers of items; -1 where an answer is short.
            rows: (m,) which queries they answer; the first m if left out.
        """
        asked = np.arange(len(labels)) if rows is None else rows
        ordered = np.sort(labels, axis=1)
        new = np.ones(ordered.shape, dtype=bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        scores = _scores(self.items, np.maximum(ordered, 0), self.queries[asked])
        hits = new & (ordered >= 0) & (scores >= self.tenth[asked, np.newaxis] - SAME)
        return float(hits.sum() / (K * len(labels)))


def _scores(items: F32, labels: I64, queries: F32) -> npt.NDArray[np.float64]:
    rows = items[labels].astype(np.float64)
    found: npt.NDArray[np.float64] = np.einsum("qkd,qd->qk", rows, queries.astype(np.float64))
    return found
