"""Unix time that no jump of the wall clock moves while a process lives."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux one that goes on while the machine sleeps."""


def _passed() -> float:
    return time.clock_gettime(_CLOCK)


_BEGAN: Final = time.time() - _passed()


def steady_time() -> float:
    """Unix time as the wall clock told it when this was loaded, and what has passed since."""
    return _BEGAN + _passed()
