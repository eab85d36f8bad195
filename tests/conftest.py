"""What every folder of tests may use: real vectors, and parts so small that few items fill them."""

from __future__ import annotations

import pytest

from streamlsh.datasets import Glosses, glosses

FAMILIES = ("hyperplane", "voronoi")


@pytest.fixture(scope="session")
def sample() -> Glosses:
    """The shipped 5,000 glosses."""
    return glosses()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails of 24 entries, merges of three segments, blocks of one strip, early tables.

    So a few dozen updates meet what otherwise takes a hundred thousand.
    """
    monkeypatch.setattr("streamlsh.buckets.segment.TAIL_ENTRIES", 24)
    monkeypatch.setattr("streamlsh.buckets.tail.TAIL_ENTRIES", 24)
    monkeypatch.setattr("streamlsh.buckets.segment.FAN_OUT", 3)
    monkeypatch.setattr("streamlsh.storage.rows._BLOCK_BYTES", 1)
    monkeypatch.setattr("streamlsh.writing.HASH_ASIDE", 4)
    for family in FAMILIES:
        monkeypatch.setattr(f"streamlsh.families.{family}.SCAN_BELOW", 12)
    monkeypatch.setattr("streamlsh.search.EXACT_DIM", 0)
