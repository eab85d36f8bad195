"""Random rotations: matrices that keep inner products."""

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


def rotated_width(dim: int, least: int) -> int:
    """The smallest power of two that is no less than ``dim`` and ``least``."""
    return 1 << (max(dim, least) - 1).bit_length()


def random_signs(rng: np.random.Generator, shape: tuple[int, ...], dim: int) -> NDArray[np.float32]:
    """Diagonals for ``kernels.hadamard.rotate`` of vectors of length ``dim``.

    Signs of that shape, scaled so that a rotation keeps lengths on average.
    """
    signs = rng.integers(0, 2, shape) * 2 - 1
    copies = shape[-1] // dim
    return np.asarray(signs / np.sqrt(shape[-1] * copies), np.float32)
