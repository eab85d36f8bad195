"""Which family an index gets, and what is said to those who ask for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import FamilyParameterError, SampleError, UnknownFamilyError

SAMPLE = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "sample", "parameters", "expected"),
    [
        ("cosine", None, {}, "crosspolytope"),
        ("euclidean", None, {"bucket_length": 1.0}, "pstable"),
        ("cosine", SAMPLE, {}, "voronoi"),
        ("euclidean", SAMPLE, {}, "voronoi"),
        ("inner_product", SAMPLE, {}, "voronoi"),
    ],
)
def test_the_default_depends_on_metric_and_sample(
    metric: str, sample: object, parameters: dict[str, float], expected: str, tmp_path: Path
) -> None:
    streamlsh.create(tmp_path / "x", dim=8, metric=metric, sample=sample, **parameters)  # type: ignore[arg-type]
    with streamlsh.open(tmp_path / "x") as reader:
        assert reader.config.family == expected
        assert reader.config.metric == metric


@pytest.mark.parametrize(
    ("metric", "family", "right"),
    [
        ("euclidean", "hyperplane", "'pstable' or 'voronoi'"),
        ("euclidean", "crosspolytope", "'pstable' or 'voronoi'"),
        ("cosine", "pstable", "'crosspolytope' or 'hyperplane' or 'voronoi'"),
        ("inner_product", "hyperplane", "'voronoi'"),
    ],
)
def test_a_family_that_does_not_know_the_metric_is_refused_and_the_right_ones_named(
    metric: str, family: str, right: str, tmp_path: Path
) -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        streamlsh.create(tmp_path / "x", dim=8, metric=metric, family=family, sample=SAMPLE)
    assert caught.value.expected == right
    assert not (tmp_path / "x").exists()


def test_inner_products_need_a_sample(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="inner_product"):
        streamlsh.create(tmp_path / "x", dim=8, metric="inner_product")


def test_pstable_with_neither_bucket_length_nor_sample_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FamilyParameterError, match="streamlsh tune"):
        streamlsh.create(tmp_path / "x", dim=8, metric="euclidean")


@pytest.mark.parametrize(
    ("family", "metric", "parameters"),
    [
        ("crosspolytope", "cosine", {"axes": 100}),
        ("crosspolytope", "cosine", {"axes": 300}),
        ("crosspolytope", "cosine", {"tables": 0}),
        ("crosspolytope", "cosine", {"bits": 3}),
        ("pstable", "euclidean", {"bucket_length": 0.0}),
        ("pstable", "euclidean", {"bucket_length": float("nan")}),
        ("pstable", "euclidean", {"bucket_length": "2"}),
        ("pstable", "euclidean", {"bucket_length": 1.0, "hashes": 31}),
        ("pstable", "euclidean", {"bucket_length": 1.0, "vectors": np.ones((2, 7))}),
        ("pstable", "euclidean", {"bucket_length": 1.0, "vectors": np.full((2, 8), np.nan)}),
        ("pstable", "euclidean", {"bucket_length": 1.0, "vectors": np.ones((3, 8)), "hashes": 2}),
        ("pstable", "euclidean", {"bucket_length": 1.0, "vectors": np.ones((3, 8)), "tables": 2}),
        ("voronoi", "euclidean", {"cells": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(
    family: str, metric: str, parameters: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(FamilyParameterError) as caught:
        streamlsh.create(
            tmp_path / "x", dim=8, metric=metric, family=family, sample=SAMPLE,
            **parameters,  # type: ignore[arg-type]
        )  # fmt: skip
    assert caught.value.expected is not None
