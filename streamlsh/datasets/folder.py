"""Embeddings stored as signed bytes and scales: ``NAME-codes.npy`` and ``NAME-scales.npy``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
        ValueError: the two files do not belong together.
    """
    folder = Path(path)
    codes = np.load(folder / f"{name}-codes.npy", allow_pickle=False)
    scales = np.load(folder / f"{name}-scales.npy", allow_pickle=False)
    if codes.dtype != np.int8 or codes.ndim != 2 or scales.shape != codes.shape[:1]:
        raise ValueError(
            f"{folder}: expected {name}-codes.npy as int8 (n, dim) and {name}-scales.npy as (n,), "
            f"received {codes.dtype} {codes.shape} and {scales.dtype} {scales.shape}"
        )
    vectors: npt.NDArray[np.float32] = codes.astype(np.float32)
    vectors *= scales[:, np.newaxis].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
