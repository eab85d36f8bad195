"""From slots to ids, against sorting and joining them in Python."""

from __future__ import annotations

import numpy as np
import pytest

from streamlsh.kernels.naming import name_hits
from tests.unit.kernels.memory import Store

COUNT = 400
MOST = 60


@pytest.mark.parametrize("k", [1, 7, MOST, 100])
@pytest.mark.parametrize("kinds", [1, 3, 1_000])
def test_hits_of_one_score_come_by_id_and_the_best_are_named(k: int, kinds: int) -> None:
    store = Store(np.ones((COUNT, 4), np.float32), block_shift=6, emptied=(1,))
    rng = np.random.default_rng(kinds)
    held = np.array([MOST, 0, 1, 30])
    usable = np.flatnonzero(np.arange(COUNT) >> 6 != 1)
    slots = np.array([rng.choice(usable, MOST, replace=False) for _ in held], np.uint32)
    scores = -np.sort(rng.integers(0, kinds, slots.shape).astype(np.float32), axis=1)
    notes = np.full((len(held), 4), 5, np.int64)
    notes[:, 0] = held
    expected = []
    for row, count in enumerate(held.tolist()):
        keys = [
            (-score, store.ids[slot], slot)
            for score, slot in zip(scores[row, :count].tolist(), slots[row].tolist(), strict=False)
        ]
        expected.append([slot for _, _, slot in sorted(keys)[:k]])
    text, ends = np.full(99_999, 7, np.uint8), np.full(len(held) * k, -1, np.int64)
    size = name_hits(store.where(), slots, scores, notes, k, text, ends)
    np.testing.assert_array_equal(notes[:, 0], np.minimum(held, k))
    assert (notes[:, 1:] == 5).all()
    assert [row[: len(own)].tolist() for row, own in zip(slots, expected, strict=True)] == expected
    named = b"".join(store.ids[slot] + b"\0" for own in expected for slot in own)
    assert text[:size].tobytes() == named
    assert (text[size:] == 7).all()
    zeros = np.flatnonzero(text[:size] == 0)
    np.testing.assert_array_equal(ends[: len(zeros)], zeros)
    assert (ends[len(zeros) :] == -1).all()
