"""The parameters that are tried.

What decides about a family's cost is how many items a bucket holds. So the grid is one of bucket
sizes: for each, the family's own parameter (bits, axes, hashes, cells) is the one that comes
nearest to it at the planned number of items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import FamilyParameterError
from streamlsh.families.base import Family
from streamlsh.families.pstable import PStable
from streamlsh.families.registry import FAMILIES
from streamlsh.tuning.occupancy import foreseen

F32 = NDArray[np.float32]

SIZES = (32.0, 128.0)
"""Mean entries of a bucket that are tried, unless one is asked for."""
TABLES = (1, 4, 8)
LENGTHS = (1.0, 2.0)
"""Bucket lengths of pstable that are tried, in multiples of its own choice."""
NEAR = 2.0
"""A bucket size that was asked for is met within this factor."""
LEAST_MEAN = 1.5
"""Buckets that hold less on average are not made smaller still."""
LOOKED_AT = 10_000
"""Rows that a parameter is chosen on."""
ROWS_PER_CELL = 8
"""Rows of the sample that a cell must have at least."""
KEYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "crosspolytope": ("axes", tuple(1 << power for power in range(1, 15))),
    "hyperplane": ("bits", tuple(range(2, 17))),
    "pstable": ("hashes", tuple(range(1, 25))),
}
"""The parameter of each family that makes its buckets smaller, and values to try; those that the
family refuses are passed over."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A family and its parameters.

    Attributes:
        family: name of the family.
        parameters: as ``create`` takes them.
    """

    family: str
    parameters: dict[str, Any]


def tried_parameters(
    metric: str, rows: F32, items: int, seed: int, bucket_size: float | None
) -> list[Tried]:
    """Everything to be tried, families that hash without a sample first.

    Args:
        metric: how vectors are compared.
        rows: (n, dim) the sample as the metric wants it, in random order.
        items: the planned number of items.
        seed: of the families.
        bucket_size: mean entries of a bucket, or ``None`` for several.
    """
    sizes = SIZES if bucket_size is None else (bucket_size,)
    found: list[Tried] = []
    for name, family in FAMILIES.items():
        if metric not in family.metrics:
            continue
        if name in KEYS:
            found += _hashed(family, metric, rows, items, seed, sizes)
        else:
            found += _cells(name, len(rows), items, sizes)
    return found


def _hashed(
    family: type[Family], metric: str, rows: F32, items: int, seed: int, sizes: tuple[float, ...]
) -> Iterator[Tried]:
    """One key for each size, in one table and in several."""
    key, values = KEYS[family.name]
    chosen = np.ascontiguousarray(rows[:LOOKED_AT])
    for given in _given(family, metric, rows, seed):
        means: dict[int, float] = {}
        for value in values:
            made = _made(family, metric, chosen, seed, {**given, key: value, "tables": 1})
            if made is None:
                continue
            means[value] = foreseen(made.encode(chosen).buckets, made.buckets, items).mean
            if means[value] < LEAST_MEAN:
                break  # a larger value makes them smaller still
        best = {min(means, key=lambda each: abs(math.log(means[each] / size))) for size in sizes}
        for value in sorted(best):
            for tables in TABLES:
                parameters = {**given, key: value, "tables": tables}
                if _made(family, metric, chosen[:1], seed, parameters) is not None:
                    yield Tried(family.name, parameters)


def _made(
    family: type[Family], metric: str, rows: F32, seed: int, parameters: dict[str, Any]
) -> Family | None:
    """The family, unless it refuses these parameters."""
    try:
        return family.fit(rows.shape[1], metric, seed, rows, parameters)
    except FamilyParameterError:
        return None


def _given(family: type[Family], metric: str, rows: F32, seed: int) -> list[dict[str, Any]]:
    """Parameters beside the key and the tables."""
    if family is not PStable:
        return [{}]
    own = PStable.fit(rows.shape[1], metric, seed, rows, {"hashes": 1, "tables": 1}).bucket_length
    return [{"bucket_length": float(f"{own * length:.3g}")} for length in LENGTHS]


def _cells(name: str, rows: int, items: int, sizes: tuple[float, ...]) -> Iterator[Tried]:
    """Numbers of cells, as far as the sample can train them; an item goes into two."""
    most = max(1 << max(rows // ROWS_PER_CELL, 1).bit_length() - 1, 1)
    wanted = [round(2 * items / sizes[0])] if len(sizes) == 1 else [most, most // 2, most // 4]
    for cells in wanted:
        if 1 <= cells <= min(rows // ROWS_PER_CELL, 1 << 16):
            yield Tried(name, {"cells": cells})
