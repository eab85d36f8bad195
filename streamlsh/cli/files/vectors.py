"""The vectors of a file alone: samples and queries, in any of the formats that ``load`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files.arrays import open_array
from streamlsh.cli.files.opening import open_rows
from streamlsh.cli.files.rows import float32
from streamlsh.config import MAX_DIM


def read_vectors(path: Path, dim: int | None = None) -> npt.NDArray[Any]:
    """All vectors of a file, (n, dim) floats; those of a ``.npy`` file are mapped, not read.

    Args:
        path: a ``.npy``, ``.jsonl`` or ``.parquet`` file.
        dim: how long they must be; by default as long as the first.

    Raises:
        UsageError: the ending is unknown.
        InputFileError: the file cannot be used, or has no vectors.
        MissingExtraError: the file is Parquet and pyarrow is not installed.
        OSError: the file cannot be opened.
    """
    if path.suffix == ".npy":
        array = open_array(path)
        if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
            raise InputFileError(
                str(path), f"expected shape (n, {dim or 'dim'}), received {array.shape}"
            )
        return array
    with open_rows(path, None) as source:
        length = source.first_length() if dim is None else dim
        if length is not None and not 1 <= length <= MAX_DIM:
            raise InputFileError(
                str(path), f"expected vectors of 1 to {MAX_DIM} numbers, received {length}"
            )
        batches = [] if length is None else [rows.vectors for rows in source.batches(length)]
    if not batches:
        raise InputFileError(str(path), "expected vectors, received none")
    return float32(np.concatenate(batches))
