"""Near vectors share buckets as often as theory says, within the error of sampling."""

from __future__ import annotations

import math

import pytest

from tests.bench.collisions import (
    crosspolytope_measured,
    crosspolytope_theory,
    hyperplane_measured,
    hyperplane_theory,
    pstable_measured,
    pstable_theory,
)

PAIRS = 300


def error(probability: float, hashes: int) -> float:
    """Four standard deviations of a measurement on so many pairs and hashes."""
    return 4 * math.sqrt(probability * (1 - probability) / (PAIRS * hashes))


@pytest.mark.parametrize("angle", [0.1, 0.5, 1.0, math.pi / 2, 2.5, 3.1])
def test_signs_of_hyperplanes_agree_with_one_minus_the_angle_over_pi(angle: float) -> None:
    expected = hyperplane_theory(angle)
    assert hyperplane_measured(angle, PAIRS) == pytest.approx(expected, abs=error(expected, 256))


@pytest.mark.parametrize("distance", [0.3, 1.0, 2.0, 4.0, 8.0, 20.0])
def test_p_stable_hashes_agree_as_datar_et_al_have_it(distance: float) -> None:
    expected = pstable_theory(distance)
    # The hashes are the same for all pairs: their own draw is one more error.
    slack = error(expected, 64) + 0.02 * expected
    assert pstable_measured(distance, PAIRS) == pytest.approx(expected, abs=slack)


@pytest.mark.parametrize("angle", [0.1, 0.3, 0.6, 1.0, 1.4])
def test_nearest_axes_agree_as_under_an_exact_rotation(angle: float) -> None:
    expected = crosspolytope_theory(angle)
    slack = error(expected, 64) + 4 * math.sqrt(expected * (1 - expected) / 20_000)
    assert crosspolytope_measured(angle, PAIRS) == pytest.approx(expected, abs=slack)
