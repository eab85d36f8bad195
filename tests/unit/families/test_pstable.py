"""p-stable hashes: Spark's where they are given, and buckets that keep keys apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from streamlsh.families.pstable import PStable


def spark_hash(unit_vector: list[float], vector: list[float], bucket_length: float) -> int:
    """floor(r . x / bucketLength) in doubles, as ``BucketedRandomProjectionLSHModel`` has it."""
    dot = 0.0
    for r, x in zip(unit_vector, vector, strict=True):
        dot += r * x
    return math.floor(dot / bucket_length)


@pytest.mark.parametrize("bucket_length", [0.1, 1.0, 2.0, 7.3])
def test_given_unit_vectors_make_sparks_hash_negative_bucket_numbers_included(
    bucket_length: float,
) -> None:
    rng = np.random.default_rng(5)
    unit = rng.standard_normal((6, 24))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = (10 * rng.standard_normal((200, 24))).astype(np.float32)
    rows[0] = 0
    family = PStable.fit(
        24, "euclidean", 0, None, {"vectors": unit, "bucket_length": bucket_length}
    )
    assert (family.tables, family.hashes) == (6, 1)
    found = family.hash_values(rows)
    for row in range(len(rows)):
        expected = [spark_hash(u, rows[row].tolist(), bucket_length) for u in unit.tolist()]
        assert found[row, :, 0].tolist() == expected
    assert (found < 0).any()
    assert (found[0] == 0).all()
    assert (found > 0).any()


def test_single_hashes_never_share_a_bucket() -> None:
    vectors = np.eye(2)
    family = PStable.fit(2, "euclidean", 0, None, {"vectors": vectors, "bucket_length": 1.0})
    rows = np.zeros((20001, 2), np.float32)
    rows[:, 0] = np.arange(-10000, 10001) + 0.5
    rows[:, 1] = -rows[:, 0]
    hashes, buckets = family.hash_values(rows)[:, :, 0], family.encode(rows).buckets
    assert hashes[:, 0].tolist() == list(range(-10000, 10001))
    assert len(np.unique(buckets)) == 2 * 20001, "tables apart, and hashes within a table"
    np.testing.assert_array_equal(np.diff(buckets[:, 0].astype(np.int64)), 1)


def test_items_share_a_bucket_exactly_if_they_share_all_hashes_of_a_table() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 4)).astype(np.float32)
    family = PStable.fit(4, "euclidean", 2, None, {"bucket_length": 1.5, "hashes": 3, "tables": 5})
    hashes, buckets = family.hash_values(rows), family.encode(rows).buckets
    for table in range(5):
        keys = {tuple(key) for key in hashes[:, table].tolist()}
        pairs = {
            (tuple(k), b)
            for k, b in zip(hashes[:, table].tolist(), buckets[:, table].tolist(), strict=True)
        }
        assert len(keys) == len(pairs) == len(set(buckets[:, table].tolist()))
        span = family.buckets // family.tables
        assert (buckets[:, table] // span == table).all()


def test_probes_are_the_cheapest_moves_over_all_tables() -> None:
    family = PStable.fit(6, "euclidean", 4, None, {"bucket_length": 1.0, "hashes": 3, "tables": 2})
    query = np.random.default_rng(0).standard_normal((1, 6)).astype(np.float32)
    values = (query.astype(np.float64) @ family.arrays()["vectors"].T + family.arrays()["offsets"])[
        0
    ]
    costs: list[float] = []
    for table in range(2):
        parts = values[3 * table : 3 * table + 3] - np.floor(values[3 * table : 3 * table + 3])
        ways = [(0.0, part**2, (1 - part) ** 2) for part in parts.tolist()]
        costs.extend(sum(moves) for moves in itertools.product(*ways))
    probed = family.probe(query, 100, np.inf)
    assert probed.counts[0] == 2 * 3**3, "every combination, and each once"
    reaches = sorted(costs)
    for count in (2, 3, 5, 20, 54):  # each table's own bucket costs nothing
        within = family.probe(query, 100, reaches[count - 1] + 1e-9)
        assert within.counts[0] == count
        np.testing.assert_array_equal(within.buckets[0, :count], probed.buckets[0, :count])


def test_the_bucket_length_comes_from_the_samples_nearest_neighbours() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(10.0)] * 2), axis=-1).reshape(-1, 2).astype(np.float32)
    family = PStable.fit(2, "euclidean", 0, grid, {})
    assert family.bucket_length == pytest.approx(2.0)
    assert PStable.fit(2, "euclidean", 0, np.repeat(grid, 3, axis=0), {}).bucket_length == (
        pytest.approx(2.0)
    ), "copies are no neighbours"
    for sample in (np.zeros((5, 2), np.float32), np.ones((1, 2), np.float32)):
        assert PStable.fit(2, "euclidean", 0, sample, {}).bucket_length > 0
