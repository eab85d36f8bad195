"""Compiling the kernels ahead of time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamlsh.creating import create
from streamlsh.families.registry import FAMILIES
from streamlsh.reading import open_reader
from streamlsh.writing import writer


def warm() -> None:
    """Compile every kernel, so that no later process has to: some twenty seconds, once.

    Kernels are compiled when they are first used and kept on disk. Where that first use should
    not wait (an image build, an install), call this or ``streamlsh warm``.
    """
    rows = np.random.default_rng(0).standard_normal((64, 32), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for name, family in FAMILIES.items():
            for metric in family.metrics:
                path = Path(folder, f"{name}-{metric}")
                create(path, dim=32, metric=metric, family=name, sample=rows)
                _use(path, rows)


def _use(path: Path, rows: NDArray[np.float32]) -> None:
    """Do once what an index is for."""
    ids = [str(row) for row in range(len(rows))]
    with writer(path) as updates:
        updates.upsert(ids, rows, tags=[("even",) if row % 2 == 0 else () for row in range(64)])
    with open_reader(path) as reader:
        reader.search(rows[0])
        reader.search(rows[0], probes=1, match="all")
        reader.search(rows[:2], tags=[("even", "odd")], exclude=["0"])
        reader.search_ids("0", match=reader.info()["family"]["tables"])
        reader.exact(rows[0])
