"""A writer that is killed at any instant leaves exactly the commits that its position says."""

from __future__ import annotations

import pytest

from tests.conftest import FAMILIES
from tests.integration.processes import run

KILLS = 24


@pytest.mark.parametrize("family", FAMILIES)
def test_after_sigkill_the_index_is_the_stream_up_to_its_stored_position(family: str) -> None:
    different = int(run("killed_writer", family, KILLS))
    assert different > KILLS // 2, "most kills must have hit a writer at work"
