"""recall@k: the share of the true nearest neighbours that an answer found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def recall_at_k(
    found_ids: Sequence[Sequence[str]],
    exact_ids: Sequence[Sequence[str]],
    exact_scores: Sequence[npt.ArrayLike] | npt.NDArray[np.floating],
    k: int = 10,
) -> float:
    """Mean recall@k over a batch of queries.

    Several items may share the k-th best score; which of them an exact scan puts first is an
    accident. So every item whose exact score reaches the k-th best counts as a hit, as far down
    as the exact answer goes: ask the scan for a few more than k to have ties counted.

    Args:
        found_ids: for each query the ids found, best first; those beyond the k-th are ignored.
        exact_ids: for each query the ids of an exact scan, best first.
        exact_scores: for each query the scores of ``exact_ids``, higher is nearer.
        k: how many neighbours are wanted.

    Returns:
        Between 0 and 1. A query whose exact answer is empty has nothing to find and counts as 1.

    Raises:
        ValueError: k is below 1, there is no query, or the three do not belong together.

    Example:
        >>> recall_at_k([["a", "c"]], [["a", "b", "c"]], [[0.9, 0.8, 0.8]], k=2)
        1.0
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, received {k}")
    if len(found_ids) == 0:
        raise ValueError("queries: expected at least 1, received 0")
    scores = [np.asarray(row, dtype=np.float64) for row in exact_scores]
    per_query = [
        _recall(found[:k], ids, row, k)
        for found, ids, row in zip(found_ids, exact_ids, scores, strict=True)
    ]
    return float(np.mean(per_query))


def _recall(
    found: Sequence[str], ids: Sequence[str], scores: npt.NDArray[np.float64], k: int
) -> float:
    if scores.shape != (len(ids),):
        raise ValueError(f"exact scores: expected {len(ids)}, received shape {scores.shape}")
    wanted = min(k, len(ids))
    if wanted == 0:
        return 1.0
    good = {item for item, score in zip(ids, scores, strict=True) if score >= scores[wanted - 1]}
    return min(len(good.intersection(found)), wanted) / wanted
