"""What every folder of tests may use: real vectors, and parts so small that few items fill them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.datasets import Glosses, glosses

FAMILIES = ("hyperplane", "voronoi")

# An installed package has its bytecode. Without it, each of the processes that tests start by the
# hundred would compile all modules anew, and a start would seem to take half a second longer.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def spread_rows(count: int, dim: int) -> NDArray[np.float32]:
    """(count, dim) vectors like embeddings: in many clusters of their own width, shuffled."""
    rng = np.random.default_rng(17)
    clusters = count // 40
    centres = rng.standard_normal((clusters, dim))
    widths = rng.uniform(0.3, 1.0, clusters)
    owners = rng.integers(0, clusters, count)
    rows = centres[owners] + widths[owners, None] * rng.standard_normal((count, dim))
    return rows.astype(np.float32)


@pytest.fixture(scope="session")
def sample() -> Glosses:
    """The shipped 5,000 glosses."""
    return glosses()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """See ``shrink_parts``."""
    shrink_parts(monkeypatch)


def shrink_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails of 24 entries, segments that stay if twice as large, blocks of one strip, early tables.

    Merges of more than 64 entries go on from commit to commit. So a few dozen updates meet what
    otherwise takes a hundred thousand.
    """
    monkeypatch.setattr("streamlsh.buckets.segment.TAIL_ENTRIES", 24)
    monkeypatch.setattr("streamlsh.buckets.tail.TAIL_ENTRIES", 24)
    monkeypatch.setattr("streamlsh.buckets.segment.RATIO", 2)
    monkeypatch.setattr("streamlsh.buckets.tail.AT_ONCE", 64)
    monkeypatch.setattr("streamlsh.buckets.merging.LEAST", 16)
    monkeypatch.setattr("streamlsh.buckets.merging.AMPLIFY", 8)
    monkeypatch.setattr("streamlsh.storage.rows._BLOCK_BYTES", 1)
    monkeypatch.setattr("streamlsh.writing.HASH_ASIDE", 4)
    for family in ("crosspolytope", "hyperplane", "pstable", "voronoi"):
        monkeypatch.setattr(f"streamlsh.families.{family}.SCAN_BELOW", 12)
    monkeypatch.setattr("streamlsh.planning.SCAN_UNCALIBRATED", 0)
    monkeypatch.setattr("streamlsh.planning.EXACT_DIM", 0)
    # Samples of a few rows are larger than what is scanned now, and too small to calibrate on.
    monkeypatch.setattr("streamlsh.creating._calibrated", lambda *_: None)
