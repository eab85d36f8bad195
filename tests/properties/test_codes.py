"""The codes of a vector are the same bits alone, in any batch, and after storage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh.families.base import Encoded, Family
from streamlsh.families.registry import FAMILIES, family_for
from streamlsh.metrics import as_queries
from tests.live_entries import Entry, live_entries

DIMS = (1, 3, 31, 128, 129, 384, 513, 1000)
ROWS = 96
PAIRS = [(name, metric) for name in FAMILIES for metric in FAMILIES[name].metrics]
pairs = pytest.mark.parametrize(("name", "metric"), PAIRS)


def vectors_of(dim: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((ROWS, dim)) * rng.choice([1e-9, 1, 1e9], (ROWS, 1))
    rows[0, 1:] = 0
    return np.asarray(rows, np.float32)


def family_of(name: str, metric: str, rows: NDArray[np.float32]) -> Family:
    kind = family_for(metric, name, has_sample=True)
    return kind.fit(rows.shape[1], metric, 3, as_queries(metric, rows), {})


def as_bytes(encoded: Encoded, row: int) -> list[Entry]:
    """One row's entries, as ``live_entries`` shows them."""
    return sorted(
        (
            int(encoded.buckets[row, copy]),
            encoded.bits[row, copy].tobytes(),
            encoded.f[row, copy].tobytes(),
            encoded.a[row, copy].tobytes(),
        )
        for copy in range(encoded.buckets.shape[1])
    )


@pytest.mark.parametrize("dim", DIMS)
@pairs
def test_codes_are_the_same_bits_alone_and_at_any_place_of_any_batch(
    name: str, metric: str, dim: int
) -> None:
    rows = vectors_of(dim)
    hashed = as_queries(metric, rows)
    family = family_of(name, metric, rows)
    together = family.encode(hashed)
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = family.encode(hashed[order])
    sliced = family.encode(hashed[::2][5:40])
    for row in range(ROWS):
        whole = as_bytes(together, row)
        assert as_queries(metric, rows[row : row + 1]).tobytes() == hashed[row].tobytes()
        assert as_bytes(family.encode(hashed[row : row + 1]), 0) == whole
        assert as_bytes(shuffled, int(np.flatnonzero(order == row)[0])) == whole
        if row % 2 == 0 and 5 <= row // 2 < 40:
            assert as_bytes(sliced, row // 2 - 5) == whole


@pairs
def test_codes_are_the_same_bits_from_several_threads(name: str, metric: str) -> None:
    rows = vectors_of(129)
    hashed = as_queries(metric, rows)
    family = family_of(name, metric, rows)
    whole = family.encode(hashed)
    with ThreadPoolExecutor(4) as pool:
        for encoded in pool.map(family.encode, [hashed] * 16):
            for ours, theirs in (
                (encoded.buckets, whole.buckets),
                (encoded.bits, whole.bits),
                (encoded.f, whole.f),
                (encoded.a, whole.a),
            ):
                assert ours.tobytes() == theirs.tobytes()


@pairs
def test_probes_are_the_same_alone_and_in_any_batch(name: str, metric: str) -> None:
    rows = vectors_of(129)
    family = family_of(name, metric, rows)
    queries = as_queries(metric, rows)
    together = family.probe(queries, 9, np.inf)
    for row in range(ROWS):
        alone = family.probe(queries[row : row + 1], 9, np.inf)
        count = int(alone.counts[0])
        assert count == together.counts[row]
        assert len(set(alone.buckets[0, :count].tolist())) == count
        np.testing.assert_array_equal(alone.buckets[0, :count], together.buckets[row, :count])
        np.testing.assert_array_equal(alone.bases[0, :count], together.bases[row, :count])
        np.testing.assert_array_equal(alone.planes[0], together.planes[row])
        assert np.isfinite(alone.bases[0, :count]).all()
        assert np.isfinite(alone.deltas[0])


@pytest.mark.parametrize("dim", DIMS)
@pairs
def test_codes_are_the_same_bits_after_storage_and_reopening(
    name: str, metric: str, dim: int, tmp_path: Path
) -> None:
    rows = vectors_of(dim)
    path = tmp_path / "index"
    streamlsh.create(path, dim=dim, metric=metric, family=name, sample=rows, seed=3)
    ids = [f"{row}" for row in range(ROWS)]
    with streamlsh.writer(path) as writer:
        for start, stop in ((0, 1), (1, 2), (2, 50), (50, ROWS)):
            writer.upsert(ids[start:stop], rows[start:stop])
            writer.commit()
    family = family_of(name, metric, rows)
    with streamlsh.open(path) as reader:
        stored = live_entries(reader)
        for row, item_id in enumerate(ids):
            hashed = as_queries(metric, rows[row : row + 1])
            assert stored[item_id] == as_bytes(family.encode(hashed), 0)
            item = reader.get(item_id)
            assert item is not None
            assert item.vector.tobytes() == rows[row].tobytes()
        reader.verify()
        for own in (reader.search(rows[5], 3), reader.search(rows[5], 3, probes=1)):
            if metric == "cosine":
                assert own.scores[0] == pytest.approx(1, abs=2e-6)
            if metric == "euclidean":
                assert own.scores[0] == 0
