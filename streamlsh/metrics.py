"""How vectors are compared, and what each metric makes of them.

============== ========================== ================================= ==================
metric         score                      families and kernels see          better is
============== ========================== ================================= ==================
cosine         <x, y> / (|x| |y|)         vectors scaled to length one      higher
inner_product  <x, y>                     vectors as they are               higher
euclidean      |x - y|                    vectors as they are               lower
============== ========================== ================================= ==================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.encode import normalize_rows

F32 = NDArray[np.float32]


def hashed_rows(metric: str, vectors: F32, unit: F32) -> F32:
    """Of (n, dim) vectors and the same at length one, what the metric's families hash."""
    return unit if metric == "cosine" else vectors


def as_queries(metric: str, vectors: F32) -> F32:
    """(n, dim) vectors as kernels and families want queries.

    Writable, because a read-only array would be one more kind to compile the kernels for.
    """
    if metric != "cosine":
        return np.require(vectors, requirements="W")
    unit = np.empty_like(vectors)
    normalize_rows(vectors, unit, np.empty(len(vectors), np.float32))
    return unit


def natural_scores(metric: str, scores: F32) -> F32:
    """Kernels' scores, of which higher is better, as users know the metric."""
    if metric == "euclidean":
        return np.sqrt(np.maximum(-scores, np.float32(0.0)))
    return scores
