"""Cells, in corners where a sample seldom leads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.voronoi import Voronoi


def test_ranks_of_sparse_centres_do_not_overflow() -> None:
    """At 4 bits none of their zeros is one: sums of a dense query grow beyond the centre's own."""
    centres = np.zeros((64, 128), np.float32)
    centres[np.arange(64), np.arange(64)] = 10
    centres[3, 3] = 12
    arrays: dict[str, NDArray[Any]] = {
        "basis": np.eye(128, 256, dtype=np.float32),
        "offset": np.zeros(256, np.float32),
        "centres": centres,
        "spread": np.zeros(64, np.float32),
        "first_cells": np.array([0, 64]),
    }
    family = Voronoi.restore(128, "cosine", {"tail_weight": 1.0}, arrays)
    probed = family.probe(np.full((1, 128), 100, np.float32), 64, np.inf)
    assert probed.buckets[0, :5].tolist() == [3, 0, 1, 2, 4]
