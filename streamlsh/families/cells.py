"""Frozen cells of one norm band, as the kernels want them for items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.families.base import F32, Encoded, to_half
from streamlsh.families.lifting import Lifted
from streamlsh.kernels.cells import assign_cells, encode_in_cells
from streamlsh.kernels.tiles import quantise_points, tile_points

NEAREST = 16
"""Cells among which an item's two are chosen."""
SPILL = 1.5
"""Weight of a second residual's part along the first."""


class Cells:
    """Consecutive cells, numbered from ``first``.

    Args:
        centres: (cells, head) float32.
        shifts: (cells,) float32, see ``encode_in_cells``.
        first: number of the first.
    """

    def __init__(self, centres: F32, shifts: F32, first: int) -> None:
        self._centres = np.ascontiguousarray(centres)
        self._shifts = np.ascontiguousarray(shifts)
        self._first = first
        levels, self._scales, self._excess = quantise_points(self._centres)
        self._tiles = tile_points(levels)
        norms = np.einsum("ij,ij->i", self._centres, self._centres)
        self._half_norms = (0.5 * norms).astype(np.float32)
        sums = float(np.abs(self._centres).sum(axis=1).max())
        largest = max(float(self._half_norms.max()), 1e-6)
        self._bounds = np.array([largest, sums], np.float32)

    def encode(self, lifted: Lifted, tiles: F32, offset: F32, tail_weight: float) -> Encoded:
        """Two cells an item, and the residual's sketch for each.

        Args:
            lifted: items of this band.
            tiles: the projection, by ``tile_columns``.
            offset: as in ``project_rows``.
            tail_weight: as in ``sign_sketches``.
        """
        n = len(lifted.points)
        cells = np.empty((n, 2), np.uint32)
        bits = np.empty((2 * n, WORDS), np.uint64)
        f = np.empty(2 * n, np.float32)
        a = np.empty(2 * n, np.float32)
        encode_in_cells(
            lifted.points, lifted.weights, lifted.penalties, tiles, offset, self._centres,
            self._tiles, self._scales, self._excess, self._half_norms, self._bounds,
            self._shifts, min(NEAREST, len(self._centres)), SPILL, tail_weight, cells, bits, f, a,
        )  # fmt: skip
        cells += np.uint32(self._first)
        return Encoded(
            cells,
            bits.reshape(n, 2, WORDS),
            to_half(f).reshape(n, 2),
            to_half(a).reshape(n, 2),
        )

    def residuals(self, projected: F32) -> tuple[F32, NDArray[np.int64]]:
        """Residuals (n, 2, width) of projected items to their two cells (n, 2)."""
        cells = np.empty((len(projected), 2), np.uint32)
        head = self._centres.shape[1]
        assign_cells(
            np.ascontiguousarray(projected[:, :head]), self._centres, self._tiles, self._scales,
            self._excess, self._half_norms, self._bounds, min(NEAREST, len(self._centres)), SPILL,
            cells,
        )  # fmt: skip
        residuals = np.repeat(projected[:, None], 2, axis=1)
        residuals[:, :, :head] -= self._centres[cells]
        return residuals, cells.astype(np.int64) + self._first
