"""How large a run is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of everything.

    Attributes:
        items: of the catalogue.
        turnovers: how often all of it is turned over.
        passes: timed passes of queries of each index, after each turnover.
        commits: whose times are taken, after a fill.
        shrunk: what the numbers of the runbooks are divided by, at least.
    """

    items: int
    turnovers: int
    passes: int
    commits: int
    shrunk: int = 1


FULL = Scale(items=100_000, turnovers=10, passes=7, commits=1_500)
QUICK = Scale(items=4_000, turnovers=3, passes=3, commits=60, shrunk=10)


def fitting(items: int, pool: int) -> int:
    """How many items a catalogue may have over a pool of vectors: live ones must differ."""
    return min(items, pool * 9 // 20)
