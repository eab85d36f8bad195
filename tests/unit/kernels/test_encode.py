"""From vectors to unit rows, projections, sketches and 4-bit codes, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.datasets import Glosses
from streamlsh.kernels.encode import (
    PLAIN_SQUARES,
    encode_by_signs,
    nibble_rows,
    normalize_rows,
    plain_queries,
    query_bytes,
    query_planes,
    sign_sketches,
    square_rows,
)
from streamlsh.kernels.tiles import project_rows, tile_columns
from tests.unit.kernels import twins

F32 = NDArray[np.float32]
DIMS = (1, 3, 31, 128, 129, 384, 1000)


def normal(rows: int, columns: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("length", [1e-18, 1.0, 1e18])
def test_rows_are_scaled_to_length_one(dim: int, length: float) -> None:
    rows = (normal(7, dim).astype(np.float64) * length / np.sqrt(dim)).astype(np.float32)
    unit, inverse = np.empty_like(rows), np.empty(7, np.float32)
    normalize_rows(rows, unit, inverse)
    np.testing.assert_allclose(unit, twins.unit_rows(rows), rtol=3e-7, atol=0)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(inverse, 1 / norms, rtol=2e-7)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("dim", DIMS)
def test_plain_queries_are_scaled_if_wanted_and_unusual_ones_told(dim: int, scale: bool) -> None:
    rows, out = normal(5, dim), np.empty((5, dim), np.float32)
    assert plain_queries(rows, scale, out)
    np.testing.assert_allclose(out, twins.unit_rows(rows) if scale else rows, rtol=2e-7)
    low, high = np.sqrt(PLAIN_SQUARES)
    for place, value, plain in (
        (4, np.nan, False), (0, np.inf, False), (2, -np.inf, False), (2, 1.01 * high, False),
        (2, 0.9 * high, True), (4, 0.99 * low, False), (4, 1.01 * low, True), (0, 0.0, False),
    ):  # fmt: skip
        odd = rows.copy()
        odd[place, :] = 0
        odd[place, dim - 1] = value
        assert plain_queries(odd, scale, out) == plain
    assert plain_queries(rows[:0], scale, out[:0])


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize(("dim", "width"), [(1, 64), (7, 128), (384, 256), (129, 512)])
def test_projections_are_products_with_the_matrix(rows: int, dim: int, width: int) -> None:
    matrix, offset, vectors = normal(dim, width, 1), normal(1, width, 2)[0], normal(rows, dim, 3)
    out = np.full((rows, width), np.nan, np.float32)
    project_rows(tile_columns(matrix), offset, vectors, out)
    expected = vectors.astype(np.float64) @ matrix - offset
    size = np.abs(vectors).astype(np.float64) @ np.abs(matrix) + np.abs(offset)
    assert (np.abs(out - expected) <= size * 2e-7 * (4 + np.sqrt(dim))).all()


@pytest.mark.parametrize("width", [64, 128, 256])
def test_squared_lengths(width: int) -> None:
    rows = normal(9, width)
    out = np.empty(9, np.float32)
    square_rows(rows, out)
    np.testing.assert_allclose(out, (rows.astype(np.float64) ** 2).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("width", "split", "weight"), [(64, 64, 1.0), (256, 128, 0.6)])
def test_sketches_are_signs_with_the_numbers_that_make_them_estimates(
    width: int, split: int, weight: float
) -> None:
    residuals, centres, offset = normal(50, width, 1), normal(50, width, 2), normal(1, width, 3)[0]
    residuals[3, 5] = 0.0
    norms = np.abs(normal(1, 50, 4)[0]) + 1
    bits = np.empty((50, width // 64), np.uint64)
    f, a = np.empty(50, np.float32), np.empty(50, np.float32)
    sign_sketches(residuals, centres, offset, split, weight, norms, bits, f, a)
    np.testing.assert_array_equal(bits, twins.packed_bits(residuals >= 0))
    f_twin, a_twin = twins.sketch(
        residuals.astype(np.float64), centres.astype(np.float64), offset.astype(np.float64),
        split, weight, norms.astype(np.float64),
    )  # fmt: skip
    np.testing.assert_allclose(f, f_twin, rtol=2e-5)
    np.testing.assert_allclose(a, a_twin, rtol=2e-4, atol=2e-4)


def test_a_residual_of_zero_makes_an_estimate_of_zero() -> None:
    zero, offset = np.zeros((1, 64), np.float32), np.zeros(64, np.float32)
    bits, f, a = np.empty((1, 1), np.uint64), np.empty(1, np.float32), np.empty(1, np.float32)
    sign_sketches(zero, zero, offset, 64, 1.0, np.zeros(1, np.float32), bits, f, a)
    assert (f[0], a[0]) == (0, 0)
    assert bits[0, 0] == 2**64 - 1


@pytest.mark.parametrize("dim", DIMS)
def test_rows_at_four_bits_are_within_half_a_step(dim: int) -> None:
    unit = twins.unit_rows(normal(20, dim)).astype(np.float32)
    width = (dim + 31) // 32 * 16
    codes, step = np.full((20, width), 99, np.uint8), np.empty(20, np.float32)
    nibble_rows(unit, codes, step)
    np.testing.assert_allclose(step, np.abs(unit).max(axis=1) / 7.5, rtol=1e-6)
    values = step[:, None] * (twins.nibble_levels(codes, dim) - 7.5)
    assert (np.abs(values - unit) <= 0.5001 * step[:, None]).all()
    padding = np.concatenate([codes & 15, codes >> 4], axis=1)[:, dim:]
    assert not padding.any()


@pytest.mark.parametrize(("width", "split", "weight"), [(64, 64, 1.0), (256, 128, 0.6)])
def test_a_query_in_bit_planes_is_within_one_step(width: int, split: int, weight: float) -> None:
    for seed in range(20):
        projected = normal(1, width, seed)[0]
        planes = np.full((4, width // 64), 7, np.uint64)
        delta = query_planes(projected, split, weight, planes)
        weighted = projected * np.where(np.arange(width) < split, 1, weight)
        assert delta == pytest.approx(np.abs(weighted).max() / 15, rel=1e-6)
        values = delta * (2 * twins.plane_levels(planes) - 15)
        assert (np.abs(values - weighted) <= 1.0001 * delta).all()


def test_the_planes_give_the_product_with_signs_by_counting_bits() -> None:
    projected, item = normal(2, 256, 5)
    planes = np.empty((4, 4), np.uint64)
    delta = query_planes(projected, 256, 1.0, planes)
    item_bits = twins.packed_bits(item[None] >= 0)
    counts = np.bitwise_count(item_bits ^ planes).sum(axis=1, dtype=np.int64)
    by_counting = delta * sum(2**p * (256 - 2 * int(counts[p])) for p in range(4))
    values = delta * (2 * twins.plane_levels(planes) - 15)
    assert by_counting == pytest.approx(twins.signs(item, 256, 1.0) @ values, rel=1e-5)


@pytest.mark.parametrize("dim", DIMS)
def test_a_query_in_bytes_is_within_half_a_step(dim: int) -> None:
    unit = twins.unit_rows(normal(1, dim, 6)).astype(np.float32)[0]
    out = np.full((dim + 31) // 32 * 32, 9, np.int8)
    step = query_bytes(unit, out)
    assert step == pytest.approx(np.abs(unit).max() / 127, rel=1e-6)
    assert (np.abs(step * out[:dim] - unit) <= 0.5001 * step).all()
    assert not out[dim:].any()


def test_a_query_of_zero_has_planes_and_bytes_of_zero_steps() -> None:
    planes, out = np.empty((4, 1), np.uint64), np.empty(64, np.int8)
    assert query_planes(np.zeros(64, np.float32), 64, 1.0, planes) == 0
    assert query_bytes(np.zeros(64, np.float32), out) == 0
    assert not out.any()


def test_sketches_estimate_true_products_without_bias(sample: Glosses) -> None:
    """With a random rotation, the errors of f and a average out over items and queries."""
    vectors, queries = sample.vectors[:1_000], sample.vectors[1_000:1_200]
    frame, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((384, 384)))
    zero = np.zeros(384, np.float32)
    projected = np.empty((1_000, 384), np.float32)
    project_rows(tile_columns(frame.astype(np.float32)), zero, vectors, projected)
    bits = np.empty((1_000, 6), np.uint64)
    f, a = np.empty(1_000, np.float32), np.empty(1_000, np.float32)
    nothing = np.zeros_like(projected)
    sign_sketches(
        projected, nothing, zero, 384, 1.0, np.ones(1_000, np.float32), bits, f, a
    )  # fmt: skip
    s = np.where(twins.unpacked_bits(bits), 1.0, -1.0)
    estimates = a[:, None] + f[:, None] * (s @ (queries @ frame).T)
    errors = estimates - vectors @ queries.T
    assert abs(errors.mean()) < 2e-3
    assert np.abs(errors.mean(axis=0)).max() < 2e-2
    assert errors.std() < 0.05
    assert np.corrcoef(estimates.ravel(), (vectors @ queries.T).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("rows", [1, 3, 255, 256, 257, 600])
def test_encoding_by_signs_is_projecting_sketching_and_reading_keys(rows: int) -> None:
    dim, width, tables, key_bits = 33, 128, 5, 7
    frame = normal(dim, width, 1)
    unit = twins.unit_rows(normal(rows, dim, 2)).astype(np.float32)
    zero = np.zeros(width, np.float32)
    buckets = np.empty((rows, tables), np.uint32)
    bits = np.empty((rows, width // 64), np.uint64)
    f, a = np.empty(rows, np.float32), np.empty(rows, np.float32)
    encode_by_signs(unit, tile_columns(frame), zero, key_bits, buckets, bits, f, a)
    projected = np.empty((rows, width), np.float32)
    project_rows(tile_columns(frame), zero, unit, projected)
    np.testing.assert_array_equal(bits, twins.packed_bits(projected >= 0))
    for table in range(tables):
        own = projected[:, table * key_bits : (table + 1) * key_bits] >= 0
        keys = (own << np.arange(key_bits)).sum(axis=1)
        np.testing.assert_array_equal(buckets[:, table], keys + (table << key_bits))
    np.testing.assert_allclose(f, 1 / np.abs(projected.astype(np.float64)).sum(axis=1), rtol=2e-5)
    assert not a.any()
