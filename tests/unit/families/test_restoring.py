"""What is stored of a family makes it again; what is not quite that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.errors import FamilyParameterError
from streamlsh.families.base import Family
from streamlsh.families.registry import FAMILIES

DIM = 12
SAMPLE = np.random.default_rng(0).standard_normal((200, DIM)).astype(np.float32)
CHOICES: list[tuple[str, str, dict[str, Any]]] = [
    ("hyperplane", "cosine", {"bits": 3, "tables": 2}),
    ("crosspolytope", "cosine", {}),
    ("pstable", "euclidean", {"hashes": 2, "tables": 2}),
    ("voronoi", "cosine", {"cells": 8}),
    ("voronoi", "euclidean", {"cells": 8}),
    ("voronoi", "inner_product", {"cells": 8}),
]


@pytest.fixture(params=CHOICES, ids=lambda choice: f"{choice[0]}-{choice[1]}")
def family(request: pytest.FixtureRequest) -> Family:
    name, metric, parameters = request.param
    return FAMILIES[name].fit(DIM, metric, 3, SAMPLE, parameters)


def restored(family: Family, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Family:
    return type(family).restore(DIM, family.metric, parameters, arrays)


def test_the_same_family_comes_back(family: Family) -> None:
    again = restored(family, family.parameters(), family.arrays())
    assert again.parameters() == family.parameters()
    for name, array in family.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_an_array_with_a_number_that_none_can_hold_is_refused(family: Family, value: float) -> None:
    for name, array in family.arrays().items():
        if array.dtype.kind == "f":
            other = array.copy()
            other.flat[0] = value
            with pytest.raises(FamilyParameterError, match="at most 1e"):
                restored(family, family.parameters(), family.arrays() | {name: other})


def test_an_array_that_is_missing_cut_short_or_of_another_type_is_refused(family: Family) -> None:
    for name, array in family.arrays().items():
        others = [array[:-1], array[..., None], array.astype(np.float16)]
        for arrays in ({name: other} for other in others):
            with pytest.raises(FamilyParameterError):
                restored(family, family.parameters(), family.arrays() | arrays)
        arrays = family.arrays()
        del arrays[name]
        with pytest.raises(FamilyParameterError):
            restored(family, family.parameters(), arrays)


@pytest.mark.parametrize("value", [None, "3", 0, -1, 2**40, float("nan"), -1.0])
def test_a_parameter_that_kernels_would_follow_out_of_the_arrays_is_refused(
    family: Family, value: Any
) -> None:
    for name in set(family.parameters()) - {"cells"}:  # as many as there are centres
        with pytest.raises(FamilyParameterError):
            restored(family, family.parameters() | {name: value}, family.arrays())
