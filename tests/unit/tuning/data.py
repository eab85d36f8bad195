"""Clustered rows, as embeddings are, small enough for tests."""

import numpy as np
from numpy.typing import NDArray

DIM = 24


def clustered(rows: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Rows around fifty centres, which are the same for every seed."""
    centres = np.random.default_rng(99).standard_normal((50, dim))
    rng = np.random.default_rng(seed)
    noise = 0.35 * rng.standard_normal((rows, dim))
    return (centres[rng.integers(0, 50, rows)] + noise).astype(np.float32)
