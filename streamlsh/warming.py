"""Compiling the kernels ahead of time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

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
        for family in FAMILIES:
            path = Path(folder, family)
            create(path, dim=32, family=family, sample=rows)
            with writer(path) as updates:
                updates.upsert([str(i) for i in range(len(rows))], rows)
            with open_reader(path) as reader:
                reader.search(rows[0])
                reader.search(rows[0], probes=1, match="all")
                reader.search_ids("0", match=reader.info()["family"]["tables"])
                reader.exact(rows[0])
