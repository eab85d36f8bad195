"""recall@k against an exact answer."""

import numpy as np
import pytest

from streamlsh.evaluation import recall_at_k


def test_recall_is_the_share_of_the_true_neighbours_found() -> None:
    assert recall_at_k([["a", "b", "x", "y"]], [list("abcd")], [[4, 3, 2, 1]], k=4) == 0.5


def test_recall_is_the_mean_over_queries() -> None:
    exact = np.array([[2.0, 1.0], [2.0, 1.0]])
    assert recall_at_k([["a", "b"], ["x", "y"]], [["a", "b"], ["c", "d"]], exact, k=2) == 0.5


def test_items_that_share_the_kth_score_all_count_as_hits() -> None:
    assert recall_at_k([["a", "c"]], [["a", "b", "c"]], [[0.9, 0.8, 0.8]], k=2) == 1.0


def test_what_was_found_beyond_k_does_not_count() -> None:
    assert recall_at_k([["x", "a"]], [["a"]], [[1.0]], k=1) == 0.0


def test_fewer_items_than_k_can_all_be_found() -> None:
    assert recall_at_k([["a", "b"]], [["a", "b"]], [[0.9, 0.8]], k=10) == 1.0


def test_nothing_to_find_counts_as_found() -> None:
    assert recall_at_k([[]], [[]], [[]]) == 1.0


def test_an_id_found_twice_counts_once() -> None:
    assert recall_at_k([["a", "a"]], [["a", "b"]], [[0.9, 0.8]], k=2) == 0.5


@pytest.mark.parametrize(
    ("found", "ids", "scores", "k"),
    [
        ([["a"]], [["a"]], [[1.0]], 0),
        ([], [], [], 1),
        ([["a"]], [["a"], ["b"]], [[1.0]], 1),
        ([["a"]], [["a"]], [[1.0, 0.5]], 1),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(
    found: list[list[str]], ids: list[list[str]], scores: list[list[float]], k: int
) -> None:
    with pytest.raises(ValueError, match=r"expected|longer|shorter"):
        recall_at_k(found, ids, scores, k)
