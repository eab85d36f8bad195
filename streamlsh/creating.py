"""Creating an index."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from streamlsh.config import (
    DEFAULT_DELETE_RETENTION,
    DEFAULT_MAP_SIZE,
    IndexConfig,
    check_delete_retention,
    check_dim,
    check_map_size,
    check_metric,
    check_seed,
)
from streamlsh.families.registry import family_named
from streamlsh.kernels.encode import normalize_rows
from streamlsh.storage.opening import create_index
from streamlsh.storage.rows import default_block_shift
from streamlsh.updates import check_vectors


def create(
    path: str | os.PathLike[str],
    *,
    dim: int,
    metric: str = "cosine",
    family: str | None = None,
    sample: ArrayLike | None = None,
    seed: int = 0,
    map_size: int = DEFAULT_MAP_SIZE,
    delete_retention: float = DEFAULT_DELETE_RETENTION,
    **parameters: Any,
) -> None:
    """Create an empty index.

    Args:
        path: a directory that does not exist yet, or is empty.
        dim: length of every vector, 1 to 8192.
        metric: ``"cosine"``.
        family: ``"hyperplane"`` or ``"voronoi"``; by default voronoi with a sample, hyperplane
            without one.
        sample: (n, dim) vectors like those to be indexed, some ten thousand; voronoi is
            trained on it.
        seed: all randomness comes from it.
        map_size: bytes of address space to reserve: the most the index may grow to. It takes
            no memory or disk until it is used.
        delete_retention: seconds for which the versions of deleted ids are remembered.
        parameters: of the family; hyperplane: ``bits`` and ``tables``, voronoi: ``cells``.

    Raises:
        InvalidInputError: an argument cannot be used.
        IndexExistsError: there is something at the path already.
        NetworkFilesystemError: the path is on a network file system.
        StorageError: the storage refused.
    """
    check_dim(dim)
    check_metric(metric)
    check_seed(seed)
    check_map_size(map_size)
    check_delete_retention(delete_retention)
    kind = family_named(family or ("hyperplane" if sample is None else "voronoi"))
    config = IndexConfig(
        dim, metric, kind.name, {}, seed, float(delete_retention), default_block_shift(dim)
    )
    unit = None
    if sample is not None:
        rows = check_vectors(config, sample)
        unit = np.empty_like(rows)
        normalize_rows(rows, unit, np.empty(len(rows), np.float32))
    frozen = kind.fit(dim, seed, unit, parameters)
    create_index(path, replace(config, parameters=frozen.parameters()), frozen, map_size)
