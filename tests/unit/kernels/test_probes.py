"""The order of a query's buckets over all tables, against listing every bucket."""

from __future__ import annotations

import numpy as np
import pytest

from streamlsh.kernels.probes import sign_probes
from tests.unit.kernels import twins

SHAPES = [(1, 1), (1, 8), (3, 1), (3, 4), (6, 6), (2, 9)]


@pytest.mark.parametrize(("tables", "width"), SHAPES)
def test_buckets_come_in_the_order_of_a_brute_force(tables: int, width: int) -> None:
    total = tables << width
    for seed in range(10):
        projected = np.random.default_rng(seed).standard_normal(tables * width + 5)
        scores = twins.probe_scores(projected.astype(np.float32), tables, width)
        found = np.full(total, 2**32 - 1, np.uint32)
        assert sign_probes(projected.astype(np.float32), tables, width, np.inf, found) == total
        assert sorted(found.tolist()) == list(range(total)), "every bucket, and each once"
        in_order = [scores[bucket] for bucket in found.tolist()]
        np.testing.assert_allclose(in_order, sorted(scores.values()), rtol=1e-5, atol=1e-6)
        assert in_order[:tables] == [0.0] * tables, "the query's own buckets first"


@pytest.mark.parametrize("count", [1, 2, 3, 10, 190])
def test_fewer_probes_are_the_beginning_of_more(count: int) -> None:
    projected = np.random.default_rng(3).standard_normal(18, dtype=np.float32)
    every, few = np.empty(192, np.uint32), np.empty(count, np.uint32)
    sign_probes(projected, 3, 6, np.inf, every)
    assert sign_probes(projected, 3, 6, np.inf, few) == count
    np.testing.assert_array_equal(few, every[:count])


def test_no_more_buckets_come_than_there_are() -> None:
    found = np.zeros(50, np.uint32)
    projected = np.random.default_rng(3).standard_normal(6, dtype=np.float32)
    assert sign_probes(projected, 2, 3, np.inf, found) == 16
    assert sorted(found[:16].tolist()) == list(range(16))


def test_margins_of_zero_and_ties_give_every_bucket_once() -> None:
    for projected in (np.zeros(12, np.float32), np.ones(12, np.float32), -np.ones(12, np.float32)):
        found = np.empty(32, np.uint32)
        assert sign_probes(projected, 2, 4, np.inf, found) == 32
        assert sorted(found.tolist()) == list(range(32))


def test_the_sign_of_a_margin_is_the_bit_of_the_key() -> None:
    found = np.empty(1, np.uint32)
    sign_probes(np.array([1, -1, 0, -2], np.float32), 1, 4, np.inf, found)
    assert found[0] == 0b0101


def test_buckets_beyond_the_reach_are_left_out() -> None:
    projected = np.random.default_rng(3).standard_normal(18, dtype=np.float32)
    scores = sorted(twins.probe_scores(projected, 3, 6).values())
    every, near = np.empty(192, np.uint32), np.empty(192, np.uint32)
    sign_probes(projected, 3, 6, np.inf, every)
    for count in (3, 10, 100):
        reach = (scores[count - 1] + scores[count]) / 2
        assert sign_probes(projected, 3, 6, reach, near) == count
        np.testing.assert_array_equal(near[:count], every[:count])
