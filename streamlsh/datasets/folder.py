"""Embeddings stored as signed bytes and scales: ``NAME-codes.npy`` and ``NAME-scales.npy``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamlsh.datasets.arrays import map_array
from streamlsh.errors import InvalidInputError


def load_folder(path: str | os.PathLike[str], name: str) -> npt.NDArray[np.float32]:
    """Read one set of embeddings from a folder.

    Args:
        path: the folder.
        name: the set's name: ``NAME-codes.npy`` holds int8 ``(n, dim)``, ``NAME-scales.npy``
            float32 ``(n,)``.

    Returns:
        Float32 ``(n, dim)``, every row of unit length.

    Raises:
        FileNotFoundError: one of the two files is not there.
        InvalidInputError: one is no array of such numbers, the two do not belong together, or a
            row has no direction.
    """
    folder = Path(path)
    codes = map_array(folder / f"{name}-codes.npy", "i", "int8 numbers")
    scales = map_array(folder / f"{name}-scales.npy", "f", "float32 numbers")
    if codes.dtype != np.int8 or codes.ndim != 2 or scales.shape != codes.shape[:1]:
        raise InvalidInputError(
            f"{folder} holds files that do not belong together",
            expected=f"{name}-codes.npy as int8 (n, dim) and {name}-scales.npy as (n,)",
            received=f"{codes.dtype} {codes.shape} and {scales.dtype} {scales.shape}",
        )
    vectors: npt.NDArray[np.float32] = codes.astype(np.float32)
    # What overflows or has no length is found below.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        vectors *= scales[:, np.newaxis].astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= norms
    usable = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    if not usable.all():
        raise InvalidInputError(
            f"{folder} holds a vector of {name} without direction",
            expected="codes that are not all 0, and finite scales",
            received="others", row=int(np.argmin(usable)),
        )  # fmt: skip
    return vectors
