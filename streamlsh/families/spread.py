"""Where a sample lies and how far it spreads, unmoved by a few rows far away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

OUTLYING = 16.0
"""Spreads from the centre beyond which a row counts as an outlier."""
LOOKED_AT = 4096
"""Rows that a first centre is taken from."""


def centre_and_scale(sample: F32) -> tuple[F32, float]:
    """A sample's mean, and one over the root of its mean squared distance to it.

    Both without the outliers: rows more than ``OUTLYING`` times the median away from the median
    of every coordinate. A sample without any spread has scale 1.
    """
    few = sample[:: max(1, len(sample) // LOOKED_AT)]
    lengths = np.empty(len(sample))
    middle = np.median(few, axis=0).astype(np.float64)
    for start in range(0, len(sample), LOOKED_AT):
        rows = sample[start : start + LOOKED_AT].astype(np.float64) - middle
        lengths[start : start + LOOKED_AT] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    usual = float(np.median(lengths))
    kept = sample[lengths <= OUTLYING * usual] if usual > 0 else sample
    centre = kept.mean(axis=0, dtype=np.float64)
    square = 0.0
    for start in range(0, len(kept), LOOKED_AT):
        square += float(((kept[start : start + LOOKED_AT] - centre) ** 2).sum())
    mean_square = square / len(kept)
    scale = 1.0 / float(np.sqrt(mean_square)) if mean_square > 0 else 1.0
    return centre.astype(np.float32), scale
