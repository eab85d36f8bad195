"""Checking what users ask of a family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import FamilyParameterError

MOST = 1e19
"""More than any number in a family's arrays: they are made from vectors of at most 1e18."""
LARGEST = float(np.finfo(np.float64).max)
"""The largest finite number."""


def check_names(family: str, parameters: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise ``FamilyParameterError`` for a parameter that the family does not have."""
    unknown = set(parameters) - set(known)
    if unknown:
        raise FamilyParameterError(
            f"unknown parameter of {family}", expected=", ".join(known),
            received=", ".join(sorted(unknown)),
        )  # fmt: skip


def integer_in(
    family: str, parameters: dict[str, Any], name: str, default: int, low: int, high: int
) -> int:
    """A parameter that is an integer in a range.

    Raises:
        FamilyParameterError: it is something else.
    """
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FamilyParameterError(
            f"{name} of {family}", expected=f"an integer from {low} to {high}", received=value
        )
    return value


def number_in(family: str, parameters: dict[str, Any], name: str, low: float, high: float) -> float:
    """A stored parameter that is a floating-point number in a range.

    Raises:
        FamilyParameterError: it is something else.
    """
    value = parameters.get(name)
    if not isinstance(value, float) or not low <= value <= high:
        raise FamilyParameterError(
            f"{name} of {family}", expected=f"a number from {low:g} to {high:g}", received=value
        )
    return value


def array_of(
    family: str, arrays: dict[str, NDArray[Any]], name: str, dtype: type, shape: tuple[int, ...]
) -> NDArray[Any]:
    """A stored array; kernels read it by its address, so its shape is not to be guessed.

    Args:
        family: the family's name.
        arrays: all that are stored.
        name: of the array.
        dtype: what it must hold.
        shape: what it must be.

    Raises:
        FamilyParameterError: it is missing, or another.
    """
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.shape != shape:
        raise FamilyParameterError(
            f"{name} of {family}", expected=f"{np.dtype(dtype)} {shape}",
            received="none" if array is None else f"{array.dtype} {array.shape}",
        )  # fmt: skip
    if not (np.abs(array) <= MOST).all():
        raise FamilyParameterError(
            f"{name} of {family}", expected=f"numbers of at most {MOST:g}",
            received="larger ones, or NaN",
        )  # fmt: skip
    return array
