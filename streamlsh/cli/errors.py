"""What a command says when it cannot go on, and what to do next.

::

    StreamLSHError
    └── CommandError                exit code 1
        ├── UsageError              the line cannot mean anything; exit code 2
        ├── InputFileError          a file cannot be used; names it and the line
        ├── ItemNotFoundError       the index has no such item
        ├── MissingExtraError       an optional package is not installed
        └── LoadInterruptedError    stopped by the user between two commits; exit code 130
"""

from __future__ import annotations

from typing import ClassVar

from streamlsh import errors


class CommandError(errors.StreamLSHError):
    """A command cannot go on, for a reason that the user can act on.

    Attributes:
        next_step: what to do about it, or an empty string.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class UsageError(CommandError):
    """The command line cannot mean anything."""

    exit_code: ClassVar[int] = 2


class InputFileError(CommandError):
    """A file, or one line or row of it, cannot be used."""

    def __init__(self, file: str, problem: str, *, place: str = "", next_step: str = "") -> None:
        where = f"{file}, {place}" if place else file
        super().__init__(f"{where}: {problem}", next_step=next_step)


class ItemNotFoundError(CommandError):
    """The index has no item of that id."""


class MissingExtraError(CommandError):
    """An optional package is not installed."""


class LoadInterruptedError(CommandError):
    """A load was stopped by the user; everything before is committed."""

    exit_code: ClassVar[int] = 130


# Most errors of the library say in their message what to do; these are the commands' share.
_NEXT_STEPS: tuple[tuple[type[errors.StreamLSHError], str], ...] = (
    (errors.IndexExistsError, "choose another path, or remove what is there"),
    (errors.CorruptIndexError, "restore the index from a copy, or build it again"),
    (errors.FencedError, "leave the index to the other writer"),
)


def next_step(error: errors.StreamLSHError) -> str:
    """What the user can do about an error, or an empty string if its message says all."""
    if isinstance(error, CommandError):
        return error.next_step
    return next((step for kind, step in _NEXT_STEPS if isinstance(error, kind)), "")
