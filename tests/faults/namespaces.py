"""Tests that need namespaces of their own, as containers have them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest


def needs(what: str, command: Sequence[str]) -> pytest.MarkDecorator:
    """Skip tests where a command with ``unshare`` is not permitted; in CI that is a failure.

    Args:
        what: the tests need.
        command: to try.
    """
    return pytest.mark.skipif(
        not os.environ.get("CI") and not _works(command),
        reason=f"{what} of one's own needs unshare and the right to use it",
    )


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
