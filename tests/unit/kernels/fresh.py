"""Compiling test code that calls kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def fresh(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function in every process anew.

    What numba keeps on disk is known by the file it stands in: it would not notice that a
    kernel in another file, which it has swallowed, is another one by now.
    """
    compiled: Callable[P, R] = njit(function)
    return compiled
