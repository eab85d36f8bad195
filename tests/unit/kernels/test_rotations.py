"""Fast rotations, nearest axes and lifts, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.families.rotation import random_signs, rotated_width
from streamlsh.kernels.axes import axis_probes, encode_by_axes
from streamlsh.kernels.compiling import kernel
from streamlsh.kernels.hadamard import rotate
from streamlsh.kernels.lifting import (
    FAR,
    FAR_QUERY,
    centre_rows,
    draw_in,
    lift_queries,
    lift_rows,
)
from tests.unit.kernels import twins

F32 = NDArray[np.float32]


@kernel
def rotate_rows(points: Any, signs: Any, out: Any) -> None:
    work = np.empty((2, signs.shape[0]), np.float32)
    for row in range(points.shape[0]):
        out[row] = work[rotate(points[row], signs, work)]


@kernel
def probes_of(coordinates: Any, reach: float, buckets: Any) -> int:
    return axis_probes(coordinates, reach, np.empty_like(coordinates), buckets)


def normal(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("dim", [1, 3, 100, 128, 129, 256])
def test_a_rotation_is_signs_and_the_hadamard_matrix(dim: int) -> None:
    signs = random_signs(np.random.default_rng(1), (256,), dim)
    points, out = normal(5, dim), np.empty((5, 256), np.float32)
    rotate_rows(points, signs, out)
    expected = twins.rotated(points, signs)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_a_rotation_keeps_lengths() -> None:
    for dim in (64, 256, 300, 512):
        width = rotated_width(dim, 256)
        signs = random_signs(np.random.default_rng(1), (width,), dim)
        points, out = normal(200, dim), np.empty((200, width), np.float32)
        rotate_rows(points, signs, out)
        lengths = np.linalg.norm(out, axis=1) / np.linalg.norm(points, axis=1)
        assert lengths.mean() == pytest.approx(1, abs=0.02)
        if width // dim == 1:
            np.testing.assert_allclose(lengths, 1, rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 40, 256])
def test_codes_are_the_nearest_signed_axes_and_sketches_the_first_signs(dim: int) -> None:
    signs = random_signs(np.random.default_rng(1), (3, 2, 256), dim)
    points, centre = twins.unit_rows(normal(50, dim)).astype(np.float32), 0.2 * normal(dim)
    buckets = np.empty((50, 3), np.uint32)
    bits = np.empty((50, 4), np.uint64)
    f, a = np.empty(50, np.float32), np.empty(50, np.float32)
    encode_by_axes(points, centre, signs, buckets, bits, f, a)
    moved = points.astype(np.float64) - centre
    for table in range(3):
        turned = np.hstack([twins.rotated(moved, signs[table, k]) for k in range(2)])
        codes = buckets[:, table].astype(np.int64) - 1024 * table
        axis, minus = codes >> 1, codes & 1
        own = turned[np.arange(50), axis]
        np.testing.assert_allclose(np.abs(own), np.abs(turned).max(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(own < 0, minus.astype(bool))
    first = twins.rotated(moved, signs[0, 0])
    clear = np.abs(first) > 1e-5
    np.testing.assert_array_equal(twins.unpacked_bits(bits)[clear], (first >= 0)[clear])
    np.testing.assert_allclose(f, (moved**2).sum(axis=1) / np.abs(first).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(a, moved @ centre, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 600, 1024])
@pytest.mark.parametrize("kind", ["normal", "equal", "zero"])
def test_the_nearest_axes_of_all_come_first_and_each_once(count: int, kind: str) -> None:
    coordinates = normal(512) if kind == "normal" else np.full(512, kind == "equal", np.float32)
    found = np.empty(count, np.uint32)
    assert probes_of(coordinates, np.inf, found) == count
    assert len(set(found.tolist())) == count
    values = np.where(found & 1, -1, 1) * coordinates[found >> 1]
    every = np.sort(np.concatenate([coordinates, -coordinates]))[::-1]
    step = 2 * max(float(np.abs(coordinates).max()), 1e-9) / 2**20
    np.testing.assert_allclose(values, every[:count], atol=step)
    fewer = np.empty(max(1, count // 2), np.uint32)
    probes_of(coordinates, np.inf, fewer)
    np.testing.assert_array_equal(fewer, found[: len(fewer)])


@pytest.mark.parametrize("reach", [0.0, 0.5, 1.0, 3.0, 6.0])
def test_axes_beyond_the_reach_are_left_out(reach: float) -> None:
    coordinates = normal(512)
    every = np.concatenate([coordinates, -coordinates])
    found = np.empty(1024, np.uint32)
    held = probes_of(coordinates, reach, found)
    assert abs(held - int((every >= every.max() - reach).sum())) <= 1


def test_euclidean_points_are_centred_scaled_and_drawn_in() -> None:
    rows, centre = normal(6, 9) + 4, np.full(9, 4, np.float32)
    rows[3] *= 1e9
    rows[4] = centre
    for is_query, longest in ((False, FAR), (True, FAR_QUERY)):
        points, halves = np.empty((6, 9), np.float32), np.empty(6, np.float32)
        if is_query:
            for row in range(6):
                halves[row] = draw_in(rows[row], centre, 0.5, True, points[row]) / 2
        else:
            centre_rows(rows, centre, 0.5, points, halves)
        expected = (rows.astype(np.float64) - centre) * 0.5
        expected[3] *= longest / np.linalg.norm(expected[3])
        np.testing.assert_allclose(points, expected, rtol=1e-5)
        np.testing.assert_allclose(halves, (expected**2).sum(axis=1) / 2, rtol=1e-5)


def test_lifted_products_are_those_of_the_vectors_over_the_largest_bound() -> None:
    rows, queries = normal(200, 7), normal(20, 7, seed=1)
    rows[0], queries[0] = 0, 0
    bounds = np.array([2.0, 2.5, 4.0], np.float32)
    points, weights = np.empty((200, 8), np.float32), np.empty(200, np.float32)
    bands = np.empty(200, np.int64)
    lift_rows(rows, bounds, points, weights, bands)
    lifted = np.empty((20, 8), np.float32)
    lift_queries(queries, lifted)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    lengths = np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    products = (queries / lengths) @ rows.T / 4.0
    np.testing.assert_allclose((lifted @ points.T) * weights, products, atol=1e-5)
    norms = np.linalg.norm(rows, axis=1)
    assert (norms > 4).any()
    np.testing.assert_array_equal(bands == -1, norms > 4)
    np.testing.assert_array_equal(bands[norms <= 4], np.searchsorted(bounds, norms[norms <= 4]))
