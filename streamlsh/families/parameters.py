"""Checking what users ask of a family."""

from __future__ import annotations

from typing import Any

from streamlsh.errors import FamilyParameterError


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
