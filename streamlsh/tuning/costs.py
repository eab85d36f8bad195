"""What a query costs, from what it counts.

A choice that rested on the clock of one run would come out otherwise on the next. So a query is
priced by its counts (buckets looked into, entries scored, candidates re-ranked) with fixed
costs of each, as they were measured once on a machine of today (x86-64 with AVX-512, one
thread, tables larger than the caches). Another machine is faster or slower as a whole; the
order of the choices hardly changes.
"""

from __future__ import annotations

from streamlsh.families.base import Family
from streamlsh.families.pstable import PStable
from streamlsh.families.voronoi import Voronoi

QUERY = 12.0
"""Microseconds of a query beside what follows: the call, the cut, the exact scores."""
CELL = 0.002
"""Of comparing a query with one of voronoi's cells."""
PRODUCT = 0.0003
"""Of one number of pstable's projection."""
ROTATION = 1.0
"""Of hashing for one table of the other families."""
BUCKET = 0.08
"""Of choosing, finding and beginning a bucket."""
ENTRY = 0.0025
"""Of an entry in a probed bucket."""
COPY = 0.015
"""Of an entry more, if the tables are counted in which an item appears."""
SCANNED = 0.0017
"""Of an entry where all are scored in a row."""
RERANK = 0.05
"""Of a candidate that is scored by its 4-bit codes."""
ROW, NUMBER = 0.01, 0.0004
"""Of a row, and of each of its numbers, where all vectors are scored."""


def by_tables(
    family: Family, buckets: float, entries: float, rerank: int, *, copies: bool
) -> float:
    """Microseconds of a query that looks into buckets.

    Args:
        family: of the index.
        buckets: how many it looks into.
        entries: how many entries they hold.
        rerank: candidates scored by their codes.
        copies: whether it counts the tables in which an item appears.
    """
    entry = ENTRY + COPY if copies else ENTRY
    return QUERY + hashing(family) + BUCKET * buckets + entry * entries + RERANK * rerank


def by_scan(entries: float, rerank: int) -> float:
    """Microseconds of a query that scores all sketches."""
    return QUERY + SCANNED * entries + RERANK * rerank


def by_vectors(items: int, dim: int) -> float:
    """Microseconds of a query that scores all vectors."""
    return QUERY + items * (ROW + NUMBER * dim)


def hashing(family: Family) -> float:
    """Microseconds of hashing a query."""
    if isinstance(family, Voronoi):
        return CELL * family.buckets
    if isinstance(family, PStable):
        return PRODUCT * family.tables * family.hashes * family.dim
    return ROTATION * family.tables
