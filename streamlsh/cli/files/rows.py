"""Rows of a file, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

BATCH_ROWS = 1_000
"""Rows a commit: enough that the commit's fixed cost is small, few enough to repeat cheaply."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of rows as the writer takes them.

    Attributes:
        vectors: float32 ``(n, dim)``.
        places: where each row stands in its file, such as ``"line 7"``.
        done: how much of the file was read by the end of this batch, out of the source's total.
    """

    ids: Sequence[str]
    vectors: npt.NDArray[np.float32]
    versions: Sequence[int | None] | None
    tags: Sequence[Sequence[str] | None] | None
    attributes: Sequence[Mapping[str, Any] | None] | None
    places: Sequence[str]
    done: int


class RowSource(Protocol):
    """A file of rows."""

    @property
    def total(self) -> int:
        """The size of the file, in the unit of ``Rows.done``."""

    def first_length(self) -> int | None:
        """The length of the first vector, ``None`` without rows; raises ``InputFileError``."""

    def batches(self, dim: int) -> Iterator[Rows]:
        """All rows in order, vectors of length ``dim``; raises ``InputFileError``."""


def float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The values as float32; what becomes infinite, and any NaN, the writer refuses."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def parse_json(text: str) -> Any:
    """Parse strict JSON, without the NaN, Infinity and repeated fields that Python lets through.

    Raises:
        ValueError: the text is no JSON, or has numbers or nesting beyond all reason.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose fields must differ: which one of two counts would be a guess."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} more than once")
    return fields
