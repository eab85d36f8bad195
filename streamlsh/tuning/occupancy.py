"""How full buckets are: counted in an index, or foreseen from a sample.

A bucket's share of the items is the same in a sample and in everything that the sample was
drawn from, so the size of a bucket that the sample met scales with the number of items. What
does not scale is how many buckets are met at all: that number grows as a power of the items
(Heaps 1978), whose exponent is taken from the two halves of the sample. The items of buckets not
met yet are about as many as there are singletons in the sample (Good 1953). And a small sample
makes buckets look more uneven than they are; that part of their variance is taken out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many entries the occupied buckets hold.

    Attributes:
        buckets: how many buckets there are.
        occupied: how many of them hold anything.
        mean: entries of an occupied bucket.
        p50: half of the occupied buckets hold no more.
        p99: 99 % of them hold no more.
        largest: entries of the fullest.
    """

    buckets: int
    occupied: int
    mean: float
    p50: float
    p99: float
    largest: float


def counted(sizes: I64, buckets: int) -> Occupancy:
    """The occupancy of ``buckets`` buckets, from the (occupied,) entries of those in use."""
    if not len(sizes):
        return Occupancy(buckets, 0, 0.0, 0.0, 0.0, 0.0)
    return _described(sizes.astype(np.float64), 0.0, 1.0, buckets)


def foreseen(hashed: NDArray[np.uint32], buckets: int, items: int) -> Occupancy:
    """The occupancy once there are ``items`` items like those of a sample.

    Args:
        hashed: (n, assignments) buckets of the sample's items, in random order.
        buckets: how many buckets there are, over all tables.
        items: how many items there will be.
    """
    rows, assignments = hashed.shape
    sizes = np.unique(hashed[:items], return_counts=True)[1]
    if items <= rows:
        return counted(sizes, buckets)
    entries = rows * assignments
    half = len(np.unique(hashed[: rows // 2]))
    exponent = math.log(len(sizes) / half) / math.log(rows / (rows // 2))
    growth = (items / rows) ** min(exponent, 1.0)
    unseen = min(len(sizes) * growth, float(buckets), float(items * assignments)) - len(sizes)
    singles = float((sizes == 1).sum()) / entries if unseen >= 1 else 0.0
    total = float(items * assignments)
    seen = np.maximum(total * (1.0 - singles) * _steadied(sizes, items / rows) / entries, 1.0)
    return _described(seen, max(unseen, 0.0), total * singles / max(unseen, 1.0), buckets)


def _steadied(sizes: I64, growth: float) -> F64:
    """Sizes with less of the chance that made buckets of a small sample larger or smaller.

    A size that is counted varies by its mean more than the bucket's share does. Of that the
    sizes keep what they will still have once there is ``growth`` times as much.
    """
    mean, variance = float(sizes.mean()), float(sizes.var())
    if variance == 0.0:
        return sizes.astype(np.float64)
    kept = (max(variance - mean, 0.0) + min(mean, variance) / growth) / variance
    steadied: F64 = mean + (sizes.astype(np.float64) - mean) * math.sqrt(kept)
    return steadied


def _described(sizes: F64, others: float, size: float, buckets: int) -> Occupancy:
    """The occupancy of buckets of these sizes and ``others`` of one further size."""
    values = np.append(sizes, max(size, 1.0))
    weights = np.append(np.ones(len(sizes)), others)
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weights[order])
    occupied = float(reached[-1])

    def quantile(share: float) -> float:
        return float(values[np.searchsorted(reached, share * occupied - 1e-9)])

    mean = float((values * weights[order]).sum()) / occupied
    return Occupancy(
        buckets, round(occupied), mean, quantile(0.5), quantile(0.99), float(sizes.max())
    )
