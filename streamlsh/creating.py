"""Creating an index."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.calibrating import FEWEST_ITEMS, FEWEST_QUERIES, calibrate, keep_calibration
from streamlsh.calibration import Calibration
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
from streamlsh.families.base import Family
from streamlsh.families.registry import family_for
from streamlsh.metrics import as_queries
from streamlsh.storage.opening import create_index
from streamlsh.storage.rows import default_block_shift
from streamlsh.updates import check_vectors
from streamlsh.writing import writer

F32 = NDArray[np.float32]

HELD_OUT = 1000
"""Rows of a sample that a family is not trained on: on those it was, probing looks narrower."""
HELD_OUT_SHARE = 20
"""One row of so many is held out, up to ``HELD_OUT``."""
BATCH = 2000


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

    With a sample that is large enough for its tables to matter, the new family is also calibrated
    on it: which recall takes how many probes. ``streamlsh.calibrate`` does so again on the items
    themselves once they are there.

    Args:
        path: a directory that does not exist yet, or is empty.
        dim: length of every vector, 1 to 8192.
        metric: ``"cosine"``, ``"inner_product"`` or ``"euclidean"``.
        family: ``"voronoi"`` (every metric), ``"crosspolytope"`` or ``"hyperplane"`` (cosine) or
            ``"pstable"`` (Euclidean); by default voronoi with a sample, without one
            crosspolytope under cosine and pstable under Euclidean distance.
        sample: (n, dim) vectors like those to be indexed, some ten thousand. voronoi is trained
            on it; crosspolytope takes a centre from it, pstable a centre and a bucket length;
            hyperplane does not look at it.
        seed: all randomness comes from it.
        map_size: bytes of address space to reserve: the most the index may grow to. It takes
            no memory or disk until it is used.
        delete_retention: seconds for which the versions of deleted ids are remembered.
        parameters: of the family. hyperplane: ``bits``, ``tables``; crosspolytope: ``axes``,
            ``tables``; pstable: ``bucket_length``, ``hashes``, ``tables``, ``vectors``; voronoi:
            ``cells``.

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
    kind = family_for(metric, family, sample is not None)
    config = IndexConfig(
        dim, metric, kind.name, {}, seed, float(delete_retention), default_block_shift(dim)
    )
    vectors = None if sample is None else check_vectors(config, sample)
    held_out = None
    if vectors is not None and kind.needs_sample:
        vectors, held_out = _split(vectors, seed)
    rows = None if vectors is None else as_queries(metric, vectors)
    frozen = kind.fit(dim, metric, seed, rows, parameters)
    config = replace(config, parameters=frozen.parameters())
    calibration = None
    if rows is not None and len(rows) > max(frozen.scan_below, FEWEST_ITEMS):
        calibration = _calibrated(config, frozen, rows, held_out)
    create_index(path, config, frozen, map_size, held_out)
    if calibration is not None:
        keep_calibration(path, calibration)


def _split(vectors: F32, seed: int) -> tuple[F32, F32 | None]:
    """A sample in two: to train on, and to calibrate with if there is enough of it."""
    count = min(len(vectors) // HELD_OUT_SHARE, HELD_OUT)
    if count < FEWEST_QUERIES:
        return vectors, None
    order = np.random.default_rng(seed).permutation(len(vectors))
    return vectors[np.sort(order[count:])], vectors[np.sort(order[:count])]


def _calibrated(
    config: IndexConfig, family: Family, rows: F32, held_out: F32 | None
) -> Calibration:
    """What a sample, indexed, says of a family: the best there is before there are items."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample")
        create_index(path, config, family, DEFAULT_MAP_SIZE, held_out)
        with writer(path) as updates:
            for start in range(0, len(rows), BATCH):
                batch = rows[start : start + BATCH]
                updates.upsert([str(start + i) for i in range(len(batch))], batch)
                updates.commit()
        return calibrate(path, seed=config.seed)
