"""Voronoi cells of frozen centres: calibrated once on a sample, then never changed.

Projection: the sample's principal axes, at most 256 of them, in two parts, the *head* of the
first 128 and the *tail* of the rest, each turned by a random rotation so that every coordinate
carries its share. Buckets: k-means centres of the sample in the head. An item goes into two
cells, the nearest and the one that best makes up for the first's error (SOAR, Sun et al.
2023). Sketch: the signs of the residual to the cell's centre, the tail's weighted by how much
smaller its coordinates are.

Probing: cells by squared distance to the query plus ``SPREAD`` times the cell's mean squared
residual in the sample, because a wide cell's members may be near though its centre is not.

Every metric is brought to such cells by ``families.lifting``: vectors of length one as they are
under cosine; centred and scaled ones for Euclidean distance, with ``<q, x> - |x|^2 / 2`` as
score; and for inner products a lift onto the unit sphere, by norm bands with cells of their own.
Under the last two, items outside the sample's range go to one bucket beside the cells, the
*overflow*, which every query probes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.config import METRICS
from streamlsh.errors import FamilyParameterError, SampleError
from streamlsh.families.base import F32, Encoded, Family, to_half
from streamlsh.families.cells import Cells
from streamlsh.families.kmeans import train_centres
from streamlsh.families.lifting import Lift, Lifted, restored_lift, trained_lift
from streamlsh.families.parameters import LARGEST, array_of, check_names, number_in
from streamlsh.families.rotation import random_frame
from streamlsh.kernels.encode import sign_sketches, square_rows
from streamlsh.kernels.frozen import CELLS
from streamlsh.kernels.tiles import (
    project_rows,
    quantise_points,
    quantise_to_nibbles,
    tile_columns,
    tile_nibbles,
    tile_points,
)

WIDTH = 64 * WORDS
HEAD = 128
MOST_HEAD = 192
"""Up to so many axes there is no tail: it would spend half of the signs on a few of them."""
SCAN_BELOW = 1_000
SPREAD = 0.3
MOST_CELLS = 256
"""Cells that one query may look into, however many are within reach."""
LENIENCE = np.float32(0.1)
"""What an item of the overflow bucket is given for each unit of its length: about two standard
deviations of its estimate, which no centre makes precise. So it is re-ranked rather than missed."""
MAX_CELLS = 4096
ROWS_PER_CELL = 16
"""Rows of the sample that a cell should have, unless told otherwise."""
SAMPLE_ROWS = 100_000
"""Rows of a larger sample that training looks at."""


class Voronoi(Family):
    """See the module's docstring.

    Args:
        lift: how vectors become points.
        basis: (point's width, WIDTH) float32 projection, its first ``head`` columns the head.
        offset: (WIDTH,) float32, the projection of the mean of points; zero unless cosine.
        centres: (cells, head) float32, norm band after norm band.
        spread: (cells,) float32 mean squared residual of the sample in each cell.
        first_cells: (bands + 1,) where the cells of each norm band begin, and the last end.
        tail_weight: weight of the tail's signs.
    """

    name: ClassVar[str] = "voronoi"
    needs_sample: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("cosine", "inner_product", "euclidean")

    def __init__(
        self,
        lift: Lift,
        basis: F32,
        offset: F32,
        centres: F32,
        spread: F32,
        first_cells: NDArray[np.int64],
        tail_weight: float,
    ) -> None:
        self.metric = lift.metric
        self.dim = lift.dim
        self.tables = 1
        self.assignments = 2
        cells, self._head = centres.shape
        self.overflow = None if lift.metric == "cosine" else cells
        self.buckets = cells if self.overflow is None else cells + 1
        self.most_probes = cells
        self.scan_below = SCAN_BELOW
        self.default_probes = min(cells, max(16, cells // 64))
        self._lift = lift
        self._basis = basis
        self._tiles = tile_columns(basis)
        self._offset = offset
        self._centres = centres
        self._spread = spread
        self._first_cells = first_cells
        self._tail_weight = tail_weight
        norms = np.einsum("ij,ij->i", centres, centres)
        shifts = np.zeros(cells, np.float32)
        if lift.metric == "euclidean":
            shifts[:] = -0.5 * norms
        bounds = first_cells.tolist()
        self._bands = [
            Cells(centres[first:end], shifts[first:end], first) for first, end in pairwise(bounds)
        ]
        # For queries a cell counts by its band's weight, in its rank and in its base.
        weights = np.repeat(lift.weights, np.diff(first_cells)).astype(np.float32)
        bias = 0.5 * (norms + SPREAD * spread)
        if lift.metric == "inner_product":
            bias -= 0.5
        bias = (weights * bias).astype(np.float32)
        columns, units, excess = quantise_points(np.ascontiguousarray(basis.T))
        weighted = centres * weights[:, None]
        levels, halves, level_excess = quantise_to_nibbles(weighted)
        # At 4 bits no coordinate is zero, so a sparse centre has longer sums than it seems.
        sums = halves * np.abs(2 * levels.astype(np.int32) - 15).sum(axis=1)
        self._freeze(
            CELLS, tile_points(columns), units, excess, offset, WIDTH, len(basis), self._head,
            float(tail_weight), tile_nibbles(levels), halves, level_excess,
            *quantise_points(weighted), bias, cells,
            np.array([max(float(np.abs(bias).max()), 1e-6), sums.max()], np.float32), shifts,
            -1 if self.overflow is None else self.overflow, METRICS.index(lift.metric),
            lift.mean, lift.scale,
        )  # fmt: skip

    @classmethod
    def fit(
        cls, dim: int, metric: str, seed: int, sample: F32 | None, parameters: dict[str, Any]
    ) -> Self:
        """Train on a sample; ``cells`` is the only parameter."""
        check_names(cls.name, parameters, ("cells",))
        if sample is None or len(sample) == 0:
            raise SampleError(
                "voronoi is calibrated on a sample of the data",
                expected="sample=, some ten thousand vectors like those to be indexed",
                received="none",
            )
        rng = np.random.default_rng(seed)
        if len(sample) > SAMPLE_ROWS:
            sample = sample[np.sort(rng.choice(len(sample), SAMPLE_ROWS, replace=False))]
        lift = trained_lift(metric, sample)
        lifted = lift.items(sample).within()
        total = _cell_count(parameters.get("cells"), len(lifted.points), len(lift.weights))
        basis, offset, head = _principal_projection(lifted.points, metric == "cosine", rng)
        projected = np.empty((len(lifted.points), WIDTH), np.float32)
        project_rows(tile_columns(basis), offset, lifted.points, projected)
        centres = []
        for band, count in enumerate(_shared_out(total, lifted.bands, len(lift.weights))):
            inside = slice(None) if lifted.bands is None else lifted.bands == band
            rows = np.ascontiguousarray(projected[inside, :head])
            centres.append(train_centres(rows, count, rng))
        first_cells = np.cumsum([0, *map(len, centres)])
        joined = np.concatenate(centres)
        family = cls(
            lift, basis, offset, joined, np.zeros(len(joined), np.float32), first_cells, 1.0
        )
        spread, tail_weight = family._residual_sizes(projected, lifted.bands)
        return cls(lift, basis, offset, joined, spread, first_cells, tail_weight)

    @classmethod
    def restore(
        cls, dim: int, metric: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """The family from its stored parts."""
        lift = restored_lift(metric, dim, parameters, arrays)
        width = dim + (metric == "inner_product")
        first_cells = array_of(cls.name, arrays, "first_cells", np.int64, (len(lift.weights) + 1,))
        cells = int(first_cells[-1])
        head = HEAD if np.shape(arrays.get("centres", ()))[-1:] == (HEAD,) else WIDTH
        if first_cells[0] != 0 or (np.diff(first_cells) < 1).any():
            raise FamilyParameterError(
                "first_cells of voronoi", expected="rising numbers from 0", received=first_cells
            )
        return cls(
            lift,
            array_of(cls.name, arrays, "basis", np.float32, (width, WIDTH)),
            array_of(cls.name, arrays, "offset", np.float32, (WIDTH,)),
            array_of(cls.name, arrays, "centres", np.float32, (cells, head)),
            array_of(cls.name, arrays, "spread", np.float32, (cells,)),
            first_cells,
            number_in(cls.name, parameters, "tail_weight", 0.0, LARGEST),
        )

    def parameters(self) -> dict[str, Any]:
        """Number of cells, and what the sample gave: the tail's weight, and the lift's numbers."""
        return {
            "cells": len(self._centres),
            "tail_weight": self._tail_weight,
            **self._lift.parameters(),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Projection, centres and spreads, and the lift's arrays."""
        return {
            "basis": self._basis,
            "offset": self._offset,
            "centres": self._centres,
            "spread": self._spread,
            "first_cells": self._first_cells,
            **self._lift.arrays(),
        }

    def encode(self, vectors: F32) -> Encoded:
        """Two cells an item, and the residual's sketch for each."""
        lifted = self._lift.items(np.ascontiguousarray(vectors, np.float32))
        if lifted.bands is None:
            return self._encode_band(lifted, self._bands[0])
        encoded = Encoded(
            np.empty((len(vectors), 2), np.uint32),
            np.empty((len(vectors), 2, WORDS), np.uint64),
            np.empty((len(vectors), 2), np.float16),
            np.empty((len(vectors), 2), np.float16),
        )
        for band in np.unique(lifted.bands).tolist():
            rows = np.flatnonzero(lifted.bands == band)
            part = lifted.take(rows)
            cells = self._encode_band(part, self._bands[band]) if band >= 0 else self._outside(part)
            encoded.buckets[rows], encoded.bits[rows] = cells.buckets, cells.bits
            encoded.f[rows], encoded.a[rows] = cells.f, cells.a
        return encoded

    def ways(self) -> list[tuple[int, float]]:
        """All cells within a reach: hard queries look into more cells than easy ones."""
        most = min(self.most_probes, MOST_CELLS)
        reaches = [0.08 * 1.2**step for step in range(14)]
        return [*((most, reach) for reach in reaches), *super().ways()[-4:]]

    def _encode_band(self, lifted: Lifted, cells: Cells) -> Encoded:
        """Items of one norm band."""
        return cells.encode(lifted, self._tiles, self._offset, self._tail_weight)

    def _outside(self, lifted: Lifted) -> Encoded:
        """Items for the overflow bucket: twice the same entry, as there are two assignments."""
        n = len(lifted.points)
        projected = np.empty((n, WIDTH), np.float32)
        project_rows(self._tiles, self._offset, lifted.points, projected)
        norms = np.empty(n, np.float32)
        square_rows(projected, norms)
        bits = np.empty((n, WORDS), np.uint64)
        f = np.empty(n, np.float32)
        a = np.empty(n, np.float32)
        sign_sketches(
            projected, np.zeros((n, WIDTH), np.float32), self._offset, self._head,
            self._tail_weight, norms, bits, f, a,
        )  # fmt: skip
        halves = (
            to_half(lifted.weights * f),
            to_half(
                lifted.weights * (a + LENIENCE * np.sqrt(norms).astype(np.float32))
                - lifted.penalties
            ),
        )
        return Encoded(
            np.full((n, 2), self.overflow, np.uint32),
            np.repeat(bits[:, None], 2, axis=1),
            *(np.repeat(half[:, None], 2, axis=1) for half in halves),
        )

    def _residual_sizes(self, projected: F32, bands: NDArray[np.int64] | None) -> tuple[F32, float]:
        """Mean squared residual of each cell's items, and the weight of the tail's signs."""
        members = np.zeros(len(self._centres))
        squares = np.zeros(len(self._centres))
        sizes = np.zeros(WIDTH)
        for band, cells in enumerate(self._bands):
            rows = projected if bands is None else projected[bands == band]
            residuals, assigned = cells.residuals(rows)
            own = np.einsum("nij,nij->ni", residuals, residuals).ravel()
            members += np.bincount(assigned.ravel(), minlength=len(members))
            squares += np.bincount(assigned.ravel(), own, minlength=len(members))
            sizes += np.abs(residuals).sum(axis=(0, 1), dtype=np.float64)
        spread = (squares / np.maximum(members, 1)).astype(np.float32)
        head = sizes[: self._head].mean()
        if self._head == WIDTH or head == 0:
            return spread, 1.0
        return spread, float(sizes[self._head :].mean() / head)


def _cell_count(wanted: object, rows: int, bands: int) -> int:
    """How many cells to train: as wanted, or what the sample can fill."""
    if wanted is None:
        fitting = min(MAX_CELLS, 1 << max(rows // ROWS_PER_CELL, 1).bit_length() - 1)
        return max(fitting, bands)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= 1 << 16:
        raise FamilyParameterError(
            "cells of voronoi", expected="an integer from 1 to 65536", received=wanted
        )
    if wanted > rows:
        raise SampleError(
            "the sample has fewer rows than cells", expected=f"at least {wanted} rows",
            received=rows,
        )  # fmt: skip
    return max(wanted, bands)


def _shared_out(cells: int, bands: NDArray[np.int64] | None, count: int) -> list[int]:
    """Cells of each norm band, by its members in the sample, and at least one."""
    if bands is None:
        return [cells]
    members = np.bincount(bands, minlength=count)
    shares = np.maximum(cells * members // max(int(members.sum()), 1), 1)
    shares[np.argmax(shares)] += cells - shares.sum()
    return [int(share) for share in shares]


def _principal_projection(
    points: F32, centred: bool, rng: np.random.Generator
) -> tuple[F32, F32, int]:
    """(basis, offset, head): rotated principal axes, the projected mean, the head's width.

    Up to ``MOST_HEAD`` axes are all head, spread over the full width: more signs than axes. Axes
    along which the sample does not vary come last and project what little there is. Points that
    are not centred have the axes of their second moments, and no offset.
    """
    rows = points.astype(np.float64)
    mean = rows.mean(axis=0) if centred else np.zeros(rows.shape[1])
    rows -= mean
    _, axes = np.linalg.eigh(rows.T @ rows)
    axes = axes[:, ::-1][:, :WIDTH]
    count = axes.shape[1]
    if count <= MOST_HEAD:
        head = WIDTH
        basis = axes @ random_frame(rng, count, WIDTH)
    else:
        head = HEAD
        basis = np.hstack(
            [
                axes[:, :HEAD] @ random_frame(rng, HEAD, HEAD),
                axes[:, HEAD:] @ random_frame(rng, count - HEAD, WIDTH - HEAD),
            ]
        )
    offset = (mean @ basis).astype(np.float32)
    return np.ascontiguousarray(basis, np.float32), offset, head
