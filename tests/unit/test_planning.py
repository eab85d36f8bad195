"""The planner: when everything is scanned, and when a calibration decides."""

from __future__ import annotations

import numpy as np
import pytest

from streamlsh.calibration import Calibration, Setting
from streamlsh.families.base import Family
from streamlsh.families.registry import FAMILIES
from streamlsh.planning import SCAN_UNCALIBRATED, Request, plan_search

DIM = 32


@pytest.fixture
def family() -> Family:
    rows = np.random.default_rng(0).standard_normal((200, DIM), dtype=np.float32)
    return FAMILIES["voronoi"].fit(DIM, "euclidean", 1, rows, {})


def calibrated_on(items: int) -> Calibration:
    """Tables reach 0.99, for a twentieth of what a scan costs."""
    settings = (Setting(3, 1.0, 60, 0.99, items / 100), Setting(0, 0.0, 60, 0.99, items))
    return Calibration(items, 1_000, "items", (1.0, 0.001, 1.0, 0.02, 0.01), {10: settings})


def route(
    family: Family, live: int, calibration: Calibration | None, recall: float | None = None
) -> str:
    return plan_search(family, live, live, Request(10, recall), calibration).route


def test_few_items_are_scanned_where_nothing_was_measured(family: Family) -> None:
    assert route(family, SCAN_UNCALIBRATED, None) == "scan"
    assert route(family, SCAN_UNCALIBRATED + 1, None) == "tables"
    assert route(family, SCAN_UNCALIBRATED + 1, None, recall=0.95) == "scan", "none is known"


def test_a_calibration_decides_from_far_fewer_items_on(family: Family) -> None:
    known = calibrated_on(2_000)
    assert route(family, family.scan_below, known) == "scan"
    assert route(family, family.scan_below + 1, known) == "tables"


def test_a_calibration_on_many_items_says_nothing_of_an_index_with_few(family: Family) -> None:
    known = calibrated_on(30_000)
    assert route(family, 14_999, known) == "scan"
    assert route(family, 15_000, known) == "tables"
    # Above the bound it is still the best there is.
    assert route(family, SCAN_UNCALIBRATED + 1, calibrated_on(10**6)) == "tables"
