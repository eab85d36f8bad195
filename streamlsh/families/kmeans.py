"""Centres of a sample by Lloyd's algorithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

ITERATIONS = 8
_CHUNK = 2048


def train_centres(points: F32, count: int, rng: np.random.Generator) -> F32:
    """(count, width) centres of (n, width) points, n >= count.

    Starts from random points. A centre that loses all its points moves to one of those that
    are worst served, so duplicates in the sample leave no centre idle unless there are fewer
    distinct points than centres.
    """
    centres = points[np.sort(rng.choice(len(points), count, replace=False))].copy()
    for _ in range(ITERATIONS):
        nearest, distances = _nearest(points, centres)
        members = np.bincount(nearest, minlength=count)
        order = np.argsort(nearest, kind="stable")
        occupied = np.flatnonzero(members)
        starts = np.concatenate([[0], np.cumsum(members[occupied])[:-1]])
        sums = np.add.reduceat(points[order].astype(np.float64), starts, axis=0)
        centres[occupied] = sums / members[occupied, None]
        empty = np.flatnonzero(members == 0)
        if len(empty):
            worst = np.argsort(-distances, kind="stable")[: len(empty)]
            centres[empty] = points[worst]
    return centres


def _nearest(points: F32, centres: F32) -> tuple[NDArray[np.intp], F32]:
    """For each point its nearest centre and the squared distance to it."""
    norms = np.einsum("ij,ij->i", centres, centres)
    nearest = np.empty(len(points), np.intp)
    distances = np.empty(len(points), np.float32)
    for start in range(0, len(points), _CHUNK):
        chunk = points[start : start + _CHUNK]
        scores = norms - 2.0 * (chunk @ centres.T)
        best = scores.argmin(axis=1)
        nearest[start : start + _CHUNK] = best
        own = np.einsum("ij,ij->i", chunk, chunk)
        distances[start : start + _CHUNK] = scores[np.arange(len(chunk)), best] + own
    return nearest, distances
