"""Time that passes only when the simulation says so."""

from __future__ import annotations

START = 1_800_000_000.0
"""Seconds since the epoch at the start of every run."""


class Clock:
    """Takes the place of the module ``time``.

    Attributes:
        passed: seconds since the start of the run, which nothing but ``advance`` moves.
        jumped: seconds by which the wall clock was set forward (or back, if negative).
    """

    def __init__(self) -> None:
        self.passed = 0.0
        self.jumped = 0.0

    def advance(self, seconds: float) -> None:
        self.passed += seconds

    def monotonic(self) -> float:
        return self.passed

    def perf_counter(self) -> float:
        return self.passed

    def time(self) -> float:
        return START + self.passed + self.jumped

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
