"""The whole way of a query in one call: from vectors to hits and their ids.

In one call, because every call from the interpreter costs more than most stages do, and what the
interpreter touches in between drives the index out of the cache.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.kernels.answer import NOTES, answer_queries
from streamlsh.kernels.axes import probe_axes
from streamlsh.kernels.cell_probes import probe_cells
from streamlsh.kernels.compiling import kernel, pointer
from streamlsh.kernels.encode import plain_queries
from streamlsh.kernels.floors import probe_floors
from streamlsh.kernels.frozen import AXES, CELLS, KIND, SIGNS
from streamlsh.kernels.naming import name_hits
from streamlsh.kernels.probes import probe_signs
from streamlsh.kernels.where import COSINE, METRIC

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

UNUSUAL = -1
"""A vector needs a closer look."""
SHORT = -2
"""A query found fewer items than wanted."""


@kernel
def probe_buckets(
    frozen: I64,
    queries: F32,
    reach: float,
    planes: U64,
    deltas: F32,
    buckets: U32,
    bases: F32,
    counts: I64,
) -> None:
    """Hash queries and find the buckets most likely to hold their neighbours.

    Args:
        frozen: what the family froze; see ``streamlsh.kernels.frozen``.
        queries: (n, dim), contiguous, as the metric wants them.
        reach: see ``Family.probe``.
        planes: (n, 4, words), written: bit planes of the projected queries.
        deltas: (n,), written: their quantisation steps.
        buckets: (n, most), written, most promising first.
        bases: (n, most), written: what scores in them begin with.
        counts: (n,), written: how many buckets each query got.
    """
    kind = frozen[KIND]
    if kind == CELLS:
        probe_cells(frozen, queries, reach, planes, deltas, buckets, bases, counts)
    elif kind == AXES:
        probe_axes(frozen, queries, reach, planes, deltas, buckets, bases, counts)
    elif kind == SIGNS:
        probe_signs(frozen, queries, reach, planes, deltas, buckets, bases, counts)
    else:
        probe_floors(frozen, queries, reach, planes, deltas, buckets, bases, counts)


@kernel
def find_hits(
    frozen: I64,
    where: I64,
    live: I64,
    excluded: U32,
    vectors: F32,
    checked: bool,
    probes: int,
    reach: float,
    last: int,
    copies: int,
    rerank: int,
    entries: int,
    wanted: int,
    k: int,
    scores: F32,
    sheet: NDArray[np.uint8],
) -> int:
    """Probe, scan, re-rank and name: the hits of every vector.

    Args:
        frozen: as in ``probe_buckets``.
        where: as in ``answer_queries``, like the next two.
        live: see there.
        excluded: see there.
        vectors: (n, dim), contiguous.
        checked: whether they are as the metric wants queries; or else ``plain_queries`` makes
            them so, in place.
        probes: buckets to look into at most.
        reach: as in ``probe_buckets``.
        last: look into all buckets up to this one instead, of base zero; -1 for not.
        copies: as in ``answer_queries``, like the next two.
        rerank: see there.
        entries: see there.
        wanted: how many items each query must find.
        k: as in ``name_hits``.
        scores: (n, exact), written; see ``answer_queries``.
        sheet: written: the (n, NOTES) notes and (n, exact) slots of ``answer_queries``, then the
            text of ``name_hits``. One array, because each more that the interpreter makes and
            hands over costs a query a quarter of a microsecond.

    Returns:
        What ``name_hits`` does; or, with no names written, ``SHORT``, or ``UNUSUAL`` (then
        nothing else is written either, but vectors before the unusual one are scaled).
    """
    count, exact = scores.shape
    if not checked and not plain_queries(vectors, where[METRIC] == COSINE, vectors):
        return UNUSUAL
    slots_at = count * NOTES * 8
    names_at = slots_at + count * exact * 4
    notes = carray(pointer(sheet.ctypes.data), (count, NOTES), np.int64)
    slots = carray(pointer(sheet.ctypes.data + slots_at), (count, exact), np.uint32)
    planes = np.empty((count, 4, WORDS), np.uint64)
    deltas = np.empty(count, np.float32)
    buckets = np.empty((count, probes), np.uint32)
    bases = np.empty((count, probes), np.float32)
    counts = np.empty(count, np.int64)
    probe_buckets(frozen, vectors, reach, planes, deltas, buckets, bases, counts)
    if last >= 0:
        buckets[:, 0] = last
        bases[:, 0] = 0.0
        counts[:] = -1
    fewest = answer_queries(
        where, live, excluded, vectors, planes, deltas, buckets, bases, counts, copies, rerank,
        entries, slots, scores, notes,
    )  # fmt: skip
    if fewest < wanted:
        return SHORT
    ends = np.empty(count * k, np.int64)
    return name_hits(where, slots, scores, notes, k, sheet[names_at:], ends)
