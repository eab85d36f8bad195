"""Keeping the best of many scored slots, and merging copies of one slot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined
from streamlsh.kernels.where import compare_names

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: products with it spread over the upper bits (Knuth)."""
FEW = 64
"""Up to so many pairs are sorted by insertion."""


@inlined
def keep_best(slots: U32, scores: F32, held: int, limit: int) -> float:
    """Move the ``limit`` best of the first ``held`` pairs to the front (quickselect).

    The two arrays are permuted together; the order within the front is unspecified.

    Returns:
        The lowest score of the front, or minus infinity if everything fits.
    """
    if held <= limit:
        return -np.inf
    low = 0
    high = held - 1
    wanted = limit - 1
    while low < high:
        pivot = scores[(low + high) >> 1]
        i = low
        j = high
        while i <= j:
            while scores[i] > pivot:
                i += 1
            while scores[j] < pivot:
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                slots[i], slots[j] = slots[j], slots[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return scores[wanted]


@inlined
def cut(slots: U32, scores: F32, held: int, limit: int, where: I64) -> tuple[int, float, int]:
    """Keep the ``limit`` best of the first ``held`` pairs; of equal scores, those of the first ids.

    What a cut keeps must not depend on the order in which pairs came, or answers would depend
    on an index's history; and near-duplicates do tie, sometimes by the thousand.

    Returns:
        How many pairs are kept, in front; the lowest score among them (minus infinity if
        everything fits); and how many pairs were dropped that tie with it.
    """
    lowest = keep_best(slots, scores, held, limit)
    if held <= limit:
        return held, lowest, 0
    end = limit
    for i in range(limit, held):
        if scores[i] == lowest:
            scores[end], scores[i] = scores[i], scores[end]
            slots[end], slots[i] = slots[i], slots[end]
            end += 1
    dropped = end - limit
    if dropped:
        better = 0
        for i in range(limit):
            if scores[i] > lowest:
                scores[better], scores[i] = scores[i], scores[better]
                slots[better], slots[i] = slots[i], slots[better]
                better += 1
        _keep_first_names(where, slots[better:end], limit - better)
    return limit, lowest, dropped


@inlined
def _keep_first_names(where: I64, slots: U32, wanted: int) -> None:
    """Move the slots of the ``wanted`` ids that sort first to the front (quickselect)."""
    low = 0
    high = slots.shape[0] - 1
    while low < high:
        pivot = np.int64(slots[(low + high) >> 1])
        i = low
        j = high
        while i <= j:
            while compare_names(where, np.int64(slots[i]), pivot) < 0:
                i += 1
            while compare_names(where, np.int64(slots[j]), pivot) > 0:
                j -= 1
            if i <= j:
                slots[i], slots[j] = slots[j], slots[i]
                i += 1
                j -= 1
        if wanted - 1 <= j:
            high = j
        elif wanted - 1 >= i:
            low = i
        else:
            break


@inlined
def sort_best_first(slots: U32, scores: F32, held: int) -> None:
    """Sort the first ``held`` pairs by falling score; usually a dozen, seldom thousands."""
    if held > FEW:
        order = np.argsort(-scores[:held], kind="mergesort")
        scores[:held] = scores[:held][order]
        slots[:held] = slots[:held][order]
        return
    for i in range(1, held):
        slot = slots[i]
        score = scores[i]
        at = i
        while at > 0 and scores[at - 1] < score:
            scores[at] = scores[at - 1]
            slots[at] = slots[at - 1]
            at -= 1
        scores[at] = score
        slots[at] = slot


@inlined
def merge_copies(slots: U32, scores: F32, held: int, copies: int) -> int:
    """Leave each slot once, with its best score, if it stands there at least ``copies`` times.

    Args:
        slots: at least ``held`` slots, overwritten from the front.
        scores: their scores, overwritten from the front.
        held: how many pairs there are.
        copies: fewest appearances for a slot to stay.

    Returns:
        How many slots stay.
    """
    size = 16
    while size < 2 * held:
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int64)
    count = np.zeros(held, np.int64)
    unique = 0
    for i in range(held):
        slot = slots[i]
        at = (np.uint64(slot) * SPREAD) >> np.uint64(32) & mask
        while table[at] >= 0 and slots[table[at]] != slot:
            at = (at + np.uint64(1)) & mask
        place = table[at]
        if place < 0:
            table[at] = unique
            slots[unique] = slot
            scores[unique] = scores[i]
            count[unique] = 1
            unique += 1
        else:
            count[place] += 1
            scores[place] = max(scores[place], scores[i])
    if copies <= 1:
        return unique
    kept = 0
    for i in range(unique):
        if count[i] >= copies:
            slots[kept] = slots[i]
            scores[kept] = scores[i]
            kept += 1
    return kept
