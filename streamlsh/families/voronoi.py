"""Voronoi cells of frozen centres: calibrated once on a sample, then never changed.

Projection: the sample's principal axes, at most 256 of them, in two parts, the *head* of the
first 128 and the *tail* of the rest, each turned by a random rotation so that every coordinate
carries its share. Buckets: k-means centres of the sample in the head. An item goes into two
cells, the nearest and the one that best makes up for the first's error (SOAR, Sun et al.
2023). Sketch: the signs of the residual to the cell's centre, the tail's weighted by how much
smaller its coordinates are.

Probing: cells by squared distance to the query plus ``SPREAD`` times the cell's mean squared
residual in the sample, because a wide cell's members may be near though its centre is not.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import FamilyParameterError, SampleError
from streamlsh.families.base import F32, Encoded, Family, Probes, Query
from streamlsh.families.kmeans import train_centres
from streamlsh.families.rotation import random_frame
from streamlsh.kernels.cells import LEVELS, assign_cells, encode_in_cells, rank_cells
from streamlsh.kernels.encode import query_planes
from streamlsh.kernels.tiles import project_rows, tile_columns, tile_points

WIDTH = 256
HEAD = 128
MOST_HEAD = 192
"""Up to so many axes there is no tail: it would spend half of the signs on a few of them."""
SCAN_BELOW = 20_000
NEAREST = 16
SPILL = 1.5
SPREAD = 0.3
MAX_CELLS = 4096
ROWS_PER_CELL = 16
"""Rows of the sample that a cell should have, unless told otherwise."""
SAMPLE_ROWS = 100_000
"""Rows of a larger sample that training looks at."""


class Voronoi(Family):
    """See the module's docstring.

    Args:
        basis: (dim, WIDTH) float32 projection, its first ``head`` columns being the head.
        offset: (WIDTH,) float32, the projection of the sample's mean.
        centres: (cells, head) float32.
        spread: (cells,) float32 mean squared residual of the sample in each cell.
        tail_weight: weight of the tail's signs.
    """

    name: ClassVar[str] = "voronoi"
    needs_sample: ClassVar[bool] = True

    def __init__(
        self, basis: F32, offset: F32, centres: F32, spread: F32, tail_weight: float
    ) -> None:
        self.dim = basis.shape[0]
        self.tables = 1
        self.assignments = 2
        self.buckets, self._head = centres.shape
        self.words = WIDTH // 64
        self.scan_below = SCAN_BELOW
        self.default_probes = min(self.buckets, max(16, self.buckets // 64))
        self._basis = basis
        self._tiles = tile_columns(basis)
        self._offset = offset
        self._centres = centres
        self._spread = spread
        self._tail_weight = tail_weight
        self._scale = LEVELS / max(2.0 * float(np.abs(centres).max()), 1e-6)
        quantised = np.rint(centres * np.float32(self._scale)).astype(np.int16)
        self._cell_tiles = tile_points(quantised)
        squares = np.einsum("ij,ij->i", quantised, quantised, dtype=np.int64)
        self._half_norms = (squares // 2).astype(np.int32)
        norms = np.einsum("ij,ij->i", centres, centres)
        self._bias = (norms + np.float32(SPREAD) * spread).astype(np.float32)

    @classmethod
    def fit(cls, dim: int, seed: int, sample: F32 | None, parameters: dict[str, Any]) -> Self:
        """Train on a sample of unit vectors; ``cells`` is the only parameter."""
        unknown = set(parameters) - {"cells"}
        if unknown:
            raise FamilyParameterError(
                "unknown parameter of voronoi", expected="cells",
                received=", ".join(sorted(unknown)),
            )  # fmt: skip
        if sample is None or len(sample) == 0:
            raise SampleError(
                "voronoi is calibrated on a sample of the data",
                expected="sample=, some ten thousand vectors like those to be indexed",
                received="none",
            )
        rng = np.random.default_rng(seed)
        if len(sample) > SAMPLE_ROWS:
            sample = sample[np.sort(rng.choice(len(sample), SAMPLE_ROWS, replace=False))]
        cells = _cell_count(parameters.get("cells"), len(sample))
        basis, offset, head = _principal_projection(sample, rng)
        projected = np.empty((len(sample), WIDTH), np.float32)
        project_rows(tile_columns(basis), offset, sample, projected)
        centres = train_centres(np.ascontiguousarray(projected[:, :head]), cells, rng)
        family = cls(basis, offset, centres, np.zeros(len(centres), np.float32), 1.0)
        residuals, assigned = family._residuals(projected)
        squares = np.einsum("nij,nij->ni", residuals, residuals).ravel()
        members = np.bincount(assigned.ravel(), minlength=len(centres))
        totals = np.bincount(assigned.ravel(), squares, minlength=len(centres))
        spread = (totals / np.maximum(members, 1)).astype(np.float32)
        sizes = np.abs(residuals).mean(axis=(0, 1))
        tail_weight = 1.0
        if head < WIDTH and sizes[:head].mean() > 0:
            tail_weight = float(sizes[head:].mean() / sizes[:head].mean())
        return cls(basis, offset, centres, spread, tail_weight)

    @classmethod
    def restore(cls, dim: int, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """The family from its stored parts."""
        return cls(
            arrays["basis"], arrays["offset"], arrays["centres"], arrays["spread"],
            parameters["tail_weight"],
        )  # fmt: skip

    def parameters(self) -> dict[str, Any]:
        """Number of cells, and the tail's weight that the sample gave."""
        return {"cells": self.buckets, "tail_weight": self._tail_weight}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Projection, centres and spreads."""
        return {
            "basis": self._basis,
            "offset": self._offset,
            "centres": self._centres,
            "spread": self._spread,
        }

    def encode(self, unit: F32) -> Encoded:
        """Two cells an item, and the residual's sketch for each."""
        n = len(unit)
        unit = np.ascontiguousarray(unit, np.float32)  # kernels read rows by address
        cells = np.empty((n, 2), np.uint32)
        bits = np.empty((2 * n, self.words), np.uint64)
        f = np.empty(2 * n, np.float32)
        a = np.empty(2 * n, np.float32)
        encode_in_cells(
            unit, self._tiles, self._offset, self._centres, self._cell_tiles, self._half_norms,
            self._scale, min(NEAREST, self.buckets), SPILL, self._tail_weight, cells, bits, f, a,
        )  # fmt: skip
        return Encoded(
            cells,
            bits.reshape(n, 2, self.words),
            f.astype(np.float16).reshape(n, 2),
            a.astype(np.float16).reshape(n, 2),
        )

    def query(self, unit: F32) -> Query:
        """Project, centred as the items are, and quantise."""
        projected = np.empty((1, WIDTH), np.float32)
        project_rows(self._tiles, self._offset, unit[None], projected)
        planes = np.empty((4, self.words), np.uint64)
        delta = query_planes(projected[0], self._head, self._tail_weight, planes)
        return Query(projected[0], planes, delta)

    def probe(self, query: Query, count: int) -> Probes:
        """Cells by distance and spread."""
        count = min(count, self.buckets)
        cells = np.empty(count, np.uint32)
        bases = np.empty(count, np.float32)
        rank_cells(
            query.projected[: self._head], self._cell_tiles, self._scale, self._bias, count,
            cells, bases,
        )  # fmt: skip
        return Probes(cells, bases)

    def first_table(self, query: Query) -> Probes:
        """Every cell."""
        ranked = self.probe(query, self.buckets)
        order = np.argsort(ranked.buckets)
        return Probes(ranked.buckets[order], ranked.bases[order])

    def _residuals(self, projected: F32) -> tuple[F32, NDArray[np.uint32]]:
        """Residuals (n, 2, WIDTH) of projected items to their two cells (n, 2)."""
        cells = np.empty((len(projected), 2), np.uint32)
        head = np.ascontiguousarray(projected[:, : self._head])
        nearest = min(NEAREST, self.buckets)
        assign_cells(
            head,
            self._centres,
            self._cell_tiles,
            self._half_norms,
            self._scale,
            nearest,
            SPILL,
            cells,
        )
        residuals = np.repeat(projected[:, None], 2, axis=1)
        residuals[:, :, : self._head] -= self._centres[cells]
        return residuals, cells


def _cell_count(wanted: object, rows: int) -> int:
    """How many cells to train: as wanted, or what the sample can fill."""
    if wanted is None:
        return min(MAX_CELLS, 1 << max(rows // ROWS_PER_CELL, 1).bit_length() - 1)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= 1 << 16:
        raise FamilyParameterError(
            "cells of voronoi", expected="an integer from 1 to 65536", received=wanted
        )
    if wanted > rows:
        raise SampleError(
            "the sample has fewer rows than cells", expected=f"at least {wanted} rows",
            received=rows,
        )  # fmt: skip
    return wanted


def _principal_projection(sample: F32, rng: np.random.Generator) -> tuple[F32, F32, int]:
    """(basis, offset, head): rotated principal axes, the projected mean, the head's width.

    Up to ``MOST_HEAD`` axes are all head, spread over the full width: more signs than axes. Axes
    along which the sample does not vary come last and project what little there is.
    """
    rows = sample.astype(np.float64)
    mean = rows.mean(axis=0)
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
