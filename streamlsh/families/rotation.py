"""Random frames: matrices that keep inner products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_frame(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """A (rows, columns) matrix with orthonormal rows or columns, whichever are fewer.

    With at least as many columns as rows, ``x @ frame`` keeps all inner products of vectors of
    length ``rows``. The QR decomposition of a Gaussian matrix, with the signs of R's diagonal
    taken out, is uniform over such frames (Mezzadri 2007).
    """
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return q if rows >= columns else q.T
