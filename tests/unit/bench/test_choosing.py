"""How the benchmark measures recall and chooses the peers' settings."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.bench.choosing import Chooser, smallest
from tests.bench.peers.base import F32, I64, K, Line, Peer, Setting, padded
from tests.bench.racing import Contestant, race, ratios
from tests.bench.truth import Truth


class Shortened(Peer):
    """Finds as many of the ten nearest as its knob says."""

    title = "shortened"

    def __init__(self, costs: Sequence[int] = (1,)) -> None:
        self.asked = 0
        self.clock = 0.0
        self._costs = costs

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._items = items

    def lines(self) -> Sequence[Line]:
        return [Line(1, K, partial(_setting, cost)) for cost in self._costs]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        count, cost = (int(value) for value in setting.values)

        def ask(query: F32) -> I64:
            self.asked += 1
            self.clock += cost
            found: I64 = np.argsort(-(self._items @ query))[:count]
            return found

        return ask

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.tolist()
        return found

    def close(self) -> None:
        pass


def _setting(cost: int, count: int) -> Setting:
    return Setting(f"{count} of {K}", (count, cost))


def vectors(count: int, seed: int) -> F32:
    rows = np.random.default_rng(seed).standard_normal((count, 16), dtype=np.float32)
    found: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.of(vectors(300, 1), vectors(40, 2))


@pytest.fixture
def peer(truth: Truth) -> Shortened:
    peer = Shortened()
    peer.build(truth.items, len(truth.items), 1)
    return peer


def test_recall_is_the_share_of_the_ten_nearest_found(truth: Truth) -> None:
    exact = np.argsort(-(truth.queries @ truth.items.T), axis=1)[:, :K]
    half = exact.copy()
    half[:, 5:] = -1
    assert truth.recall(exact) == 1.0
    assert truth.recall(half) == 0.5


def test_recall_of_some_queries_is_measured_on_these_alone(truth: Truth) -> None:
    rows = np.array([7, 3])
    exact = np.argsort(-(truth.queries[rows] @ truth.items.T), axis=1)[:, :K]
    assert truth.recall(exact, rows) == 1.0


def test_a_label_found_twice_counts_once(truth: Truth) -> None:
    nearest = np.argmax(truth.queries @ truth.items.T, axis=1)
    assert truth.recall(np.repeat(nearest[:, np.newaxis], K, axis=1)) == pytest.approx(1 / K)


def test_whoever_ties_with_the_tenth_counts() -> None:
    items = np.repeat(vectors(2, 3), 15, axis=0)
    tied = Truth.of(items, items[:1])
    assert tied.recall(np.arange(5, 15)[np.newaxis]) == 1.0


@pytest.mark.parametrize("wanted", [1, 2, 17, 64, 100])
def test_smallest_finds_the_first_number_that_reaches(wanted: int) -> None:
    assert smallest(1, 100, lambda number: number >= wanted) == wanted


def test_smallest_says_when_nothing_reaches() -> None:
    assert smallest(1, 100, lambda _: False) is None


def test_knobs_of_a_line_rise_from_end_to_end() -> None:
    knobs = Line(10, 2_048, lambda value: Setting(str(value))).knobs()
    assert knobs[0] == 10
    assert knobs[-1] == 2_048
    assert knobs == sorted(set(knobs))


def test_the_chosen_setting_is_the_first_that_reaches_the_recall(
    peer: Shortened, truth: Truth
) -> None:
    chooser = Chooser(peer, truth)
    assert chooser.cheapest(0.7) == Setting(f"7 of {K}", (7, 1))


def test_of_two_ways_to_a_recall_the_cheaper_is_chosen(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Shortened(costs=(2, 1))
    peer.build(truth.items, len(truth.items), 1)
    monkeypatch.setattr("tests.bench.choosing.time.perf_counter", lambda: peer.clock)
    assert Chooser(peer, truth).cheapest(0.9) == Setting(f"9 of {K}", (9, 1))


def test_no_setting_is_tried_twice(peer: Shortened, truth: Truth) -> None:
    chooser = Chooser(peer, truth)
    chooser.cheapest(0.7)
    asked = peer.asked
    chooser.cheapest(0.7)
    assert peer.asked == asked


def test_a_recall_out_of_reach_gives_no_setting_but_the_best_that_was_tried(
    peer: Shortened, truth: Truth
) -> None:
    chooser = Chooser(peer, truth)
    assert chooser.cheapest(1.1) is None
    assert chooser.best().recall == 1.0


def test_contestants_run_equally_often_and_keep_their_recall(peer: Shortened, truth: Truth) -> None:
    field = [Contestant(peer, Setting("", (count, 1))) for count in (8, 10)]
    race(field, truth, 3, lambda _: None)
    assert [one.recall for one in field] == [0.8, 1.0]
    assert [len(one.microseconds) for one in field] == [3, 3]
    assert ratios(field[0], field[1]).middle > 0


def test_short_answers_are_filled_up_with_no_label() -> None:
    assert padded([[4, 2], range(12)]).tolist() == [[4, 2] + 8 * [-1], list(range(10))]
