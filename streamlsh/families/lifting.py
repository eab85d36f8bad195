"""What each metric makes of vectors before they are hashed to cells.

A score is ``weight * <query's point, item's point> - penalty``, higher being nearer:

- cosine: unit vectors as they are.
- Euclidean: ``x' = (x - mean) * scale`` for both, and ``<q', x'> - |x'|^2 / 2``, which orders
  items as their distances do. Mean and scale come from the sample. Items farther out than
  ``OUTLYING`` spreads are outside, beyond ``FAR`` they are drawn in to it.
- inner product: ``[x / M ; sqrt(1 - |x|^2 / M^2)]`` for items and ``[q / |q| ; 0]`` for queries
  (Neyshabur and Srebro 2015), so that all items lie on the unit sphere and their products with
  a query are those of the vectors over M. Where norms differ much, M is that of a *norm band*
  (Yan et al. 2018), and the item's weight M over the largest. Items longer than all bounds
  are outside, with their own length as M.

Items outside are found like the others; they only share a bucket that is always looked into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.parameters import LARGEST, array_of, number_in
from streamlsh.families.spread import OUTLYING, centre_and_scale
from streamlsh.kernels.lifting import OUTSIDE, centre_rows, lift_rows

F32 = NDArray[np.float32]

ROOM = 1.02
"""How much longer than the sample's longest vector (or the common ones) the last bound is."""
TOP = 0.99
"""Quantile of norms of which twice is the most that the last bound may be."""
BANDS = ((1.25, (1.0,)), (2.0, (0.5, 1.0)), (np.inf, (0.25, 0.5, 0.75, 1.0)))
"""Quantiles of norms that end the bands, by how many times the median norm the longest is."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """Items as points.

    Attributes:
        points: (n, width) float32, contiguous.
        weights: (n,) float32.
        penalties: (n,) float32.
        bands: (n,) norm band of each, -1 outside; ``None`` if all are in band 0.
    """

    points: F32
    weights: F32
    penalties: F32
    bands: NDArray[np.int64] | None

    def take(self, rows: NDArray[np.intp]) -> Lifted:
        """Some of the items."""
        bands = None if self.bands is None else self.bands[rows]
        return Lifted(self.points[rows], self.weights[rows], self.penalties[rows], bands)

    def within(self) -> Lifted:
        """Those that are not outside; all of them if every one is."""
        if self.bands is None or not (self.bands >= 0).any():
            return Lifted(self.points, self.weights, self.penalties, None)
        return self.take(np.flatnonzero(self.bands >= 0))


class Lift:
    """How vectors of a metric become points.

    Args:
        metric: its name.
        dim: length of the vectors.
        mean: (dim,) float32, Euclidean only.
        scale: Euclidean only.
        bounds: (bands,) float32 norms, ascending, inner product only.
    """

    def __init__(self, metric: str, dim: int, mean: F32, scale: float, bounds: F32) -> None:
        self.metric = metric
        self.dim = dim
        self.weights = bounds / bounds[-1]
        self.mean = mean
        self.scale = scale
        self._bounds = bounds

    def parameters(self) -> dict[str, Any]:
        """The scale, where it is one."""
        return {"scale": self.scale} if self.metric == "euclidean" else {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean or bounds, where there are."""
        if self.metric == "euclidean":
            return {"mean": self.mean}
        return {"bounds": self._bounds} if self.metric == "inner_product" else {}

    def items(self, vectors: F32) -> Lifted:
        """(n, dim) contiguous vectors as points; a row's does not depend on the others."""
        n = len(vectors)
        weights = np.ones(n, np.float32)
        penalties = np.zeros(n, np.float32)
        if self.metric == "cosine":
            return Lifted(vectors, weights, penalties, None)
        if self.metric == "euclidean":
            points = np.empty((n, self.dim), np.float32)
            centre_rows(vectors, self.mean, self.scale, points, penalties)
            bands = np.where(penalties > 0.5 * OUTLYING**2, OUTSIDE, 0)
        else:
            points = np.empty((n, self.dim + 1), np.float32)
            bands = np.empty(n, np.int64)
            lift_rows(vectors, self._bounds, points, weights, bands)
        return Lifted(points, weights, penalties, bands if bands.any() else None)


def trained_lift(metric: str, sample: F32) -> Lift:
    """The lift for vectors like the rows of a sample."""
    dim = sample.shape[1]
    mean, scale, bounds = np.zeros(dim, np.float32), 1.0, np.ones(1, np.float32)
    if metric == "euclidean":
        mean, scale = centre_and_scale(sample)
    elif metric == "inner_product":
        bounds = _norm_bounds(sample)
    return Lift(metric, dim, mean, scale, bounds)


def restored_lift(
    metric: str, dim: int, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> Lift:
    """The lift from its stored parts, or ``FamilyParameterError`` if they are none."""
    mean, scale, bounds = np.zeros(dim, np.float32), 1.0, np.ones(1, np.float32)
    if metric == "euclidean":
        mean = array_of("voronoi", arrays, "mean", np.float32, (dim,))
        scale = number_in("voronoi", parameters, "scale", 0.0, LARGEST)
    elif metric == "inner_product":
        bands = np.size(arrays.get("bounds", ())) or 1
        bounds = array_of("voronoi", arrays, "bounds", np.float32, (bands,))
    return Lift(metric, dim, mean, scale, bounds)


def _norm_bounds(sample: F32) -> F32:
    """Ascending norm bounds of 1, 2 or 4 bands: the more, the more the norms differ."""
    norms = np.sqrt(np.einsum("ij,ij->i", sample, sample, dtype=np.float64))
    last = ROOM * min(float(norms.max()), 2.0 * float(np.quantile(norms, TOP, method="lower")))
    if last <= 0:
        return np.ones(1, np.float32)
    middle = float(np.median(norms))
    quantiles = next(q for most, q in BANDS if last <= most * middle or most == np.inf)
    bounds = np.array([*np.quantile(norms, quantiles[:-1]), last]).astype(np.float32)
    return np.unique(bounds[bounds > 1e-6 * last])
