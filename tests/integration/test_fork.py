"""Readers survive ``fork()``: a child opens the file anew, and its parent notices nothing."""

from __future__ import annotations

import pytest

from tests.integration.forking import SCENARIOS
from tests.integration.processes import run


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_after_a_fork(scenario: str) -> None:
    assert run("forking", scenario) == "held\n"
