"""What every peer of the benchmark can do, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

K = 10
"""How many neighbours everybody is asked for."""


class MissingPeerError(Exception):
    """A peer is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of a peer's query parameters.

    Attributes:
        text: as it is printed.
        values: the same as numbers, for the peer itself.
    """

    text: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One knob from quick to thorough, everything else fixed.

    Attributes:
        low: smallest sensible value of the knob.
        high: largest.
        at: the setting for a value.
    """

    low: int
    high: int
    at: Callable[[int], Setting]

    def knobs(self) -> list[int]:
        """Values a tenth apart, the ends included."""
        values, value = [self.low], float(self.low)
        while values[-1] < self.high:
            value = max(value * STEP, values[-1] + 1)
            values.append(min(round(value), self.high))
        return values


STEP = 1.1


class Peer(ABC):
    """A way of answering queries over unit vectors; items are numbered as they are given.

    Attributes:
        title: the name in tables and plots.
        packages: distributions whose versions belong to its figures.
        grows: whether ``add`` works.
        batches: whether ``batch_asker`` works.
        fixed: the only setting, of who has no knobs.
        slow: whether a query takes many milliseconds, so that its curve gets fewer points.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    grows: ClassVar[bool] = False
    batches: ClassVar[bool] = False
    fixed: ClassVar[Setting | None] = None
    slow: ClassVar[bool] = False

    @abstractmethod
    def build(self, items: F32, capacity: int, threads: int) -> None:
        """Take in the first items.

        Args:
            items: (n, dim).
            capacity: how many items there will be in the end.
            threads: how many may be used.
        """

    def add(self, items: F32) -> None:
        """Take in more items, with one thread."""
        raise NotImplementedError

    def lines(self) -> Sequence[Line]:
        """The knobs to choose from."""
        return ()

    def setting_for(self, recall: float) -> Setting | None:
        """The setting for a recall, of who needs no trying out."""
        return None

    def prepare(self, queries: F32) -> Sequence[Any]:
        """Each query as ``asker`` wants it; not timed."""
        return list(queries)

    @abstractmethod
    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        """A function that answers one query with one thread; called just before it is used."""

    @abstractmethod
    def labels(self, answer: Any) -> Iterable[int]:
        """Numbers of the items in an answer of ``asker``, at most K."""

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        """The same for many queries in one call."""
        raise NotImplementedError

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        """Numbers of the items in an answer of ``batch_asker``."""
        raise NotImplementedError

    def save(self, folder: Path) -> bool:
        """Write everything a restart needs into an empty folder; False if there is no such way."""
        return False

    def own_bytes(self) -> int | None:
        """Memory in use by the peer's own account, where its process would not show it."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of memory, files and processes."""


def padded(rows: Iterable[Iterable[int]]) -> I64:
    """Labels of many answers as one array, short ones filled up with -1."""
    lists = [list(row)[:K] for row in rows]
    return np.array([row + [-1] * (K - len(row)) for row in lists], dtype=np.int64)
