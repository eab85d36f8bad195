"""Occupancy is counted exactly, and foreseen from a sample within reason."""

import numpy as np
import pytest

from streamlsh.tuning.occupancy import Occupancy, counted, foreseen


def test_counted_occupancy_is_of_the_buckets_in_use() -> None:
    sizes = np.array([1, 1, 2, 6, 90])
    assert counted(sizes, 64) == Occupancy(64, 5, 20.0, 2.0, 90.0, 90.0)


def test_no_bucket_in_use_is_no_error() -> None:
    assert counted(np.zeros(0, np.int64), 8) == Occupancy(8, 0, 0.0, 0.0, 0.0, 0.0)


def test_foreseen_for_the_samples_own_size_is_counted() -> None:
    hashed = np.array([[0], [3], [3], [1]], np.uint32)
    assert foreseen(hashed, 4, 4) == counted(np.array([1, 1, 2]), 4)


@pytest.mark.parametrize("skew", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("items", [500, 100_000])
def test_buckets_are_foreseen_from_a_sample(skew: float, items: int) -> None:
    rng = np.random.default_rng(0)
    shares = np.arange(1, 1001) ** -skew
    shares /= shares.sum()
    everything = rng.choice(1000, (100_000, 1), p=shares).astype(np.uint32)
    predicted = foreseen(everything[:5000], 1000, items)
    actual = counted(np.unique(everything[:items], return_counts=True)[1], 1000)
    assert predicted.mean == pytest.approx(actual.mean, rel=0.25)
    assert predicted.p50 == pytest.approx(actual.p50, rel=0.35)
    assert predicted.p99 == pytest.approx(actual.p99, rel=0.35)
    assert predicted.largest == pytest.approx(actual.largest, rel=0.35)


def test_buckets_that_the_sample_never_met_are_reckoned_with() -> None:
    hashed = np.random.default_rng(0).integers(0, 1 << 20, (2000, 2)).astype(np.uint32)
    predicted = foreseen(hashed, 1 << 20, 100_000)
    assert 100_000 < predicted.occupied <= 200_000
    assert predicted.mean == pytest.approx(1.1, abs=0.2)
