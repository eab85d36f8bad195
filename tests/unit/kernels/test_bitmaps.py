"""Containers of postings against plain sets."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels.bitmaps import (
    FEW,
    PAGE_WORDS,
    change_containers,
    unite_containers,
)
from streamlsh.storage.schema import LIVE_PAGE_SLOTS
from tests.unit.kernels.twins import container_of, slots_of_container

U16 = NDArray[np.uint16]
EVERYTHING = set(range(LIVE_PAGE_SLOTS))


def random_set(rng: np.random.Generator, size: int) -> set[int]:
    return set(rng.choice(LIVE_PAGE_SLOTS, size, replace=False).tolist())


def changed(cases: list[tuple[set[int], set[int], set[int]]]) -> list[U16]:
    """The containers after (held, added, taken out), all by one call."""
    stored = [container_of(held) for held, _, _ in cases]
    changes = [
        np.array(sorted([s << 1 | 1 for s in added] + [s << 1 for s in out]), np.uint16)
        for _, added, out in cases
    ]
    words, counts = [list(map(len, parts)) for parts in (stored, changes)]
    room = np.minimum(np.add(words, counts), PAGE_WORDS)
    places = np.append(0, np.cumsum(room))
    result = np.full(places[-1], 0xFFFF, np.uint16)
    lengths = np.full(len(cases), -1)
    change_containers(
        np.concatenate(stored), np.append(0, np.cumsum(words)), np.concatenate(changes),
        np.append(0, np.cumsum(counts)), places, result, lengths,
    )  # fmt: skip
    return [result[at : at + size] for at, size in zip(places[:-1], lengths.tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_slots_are_added_and_taken_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = []
    for size in (0, 1, 2, 50, FEW - 1, FEW, FEW + 1, 5_000, LIVE_PAGE_SLOTS):
        for more in (0, 1, 60, 2_000):
            held, added = random_set(rng, size), random_set(rng, more)
            out = set(rng.permutation(sorted(held - added))[: rng.integers(size + 1)].tolist())
            cases.append((held, added, out))
            cases.append((held, added - held, held - added))
    for (held, added, out), found in zip(cases, changed(cases), strict=True):
        assert found.tobytes() == container_of((held | added) - out).tobytes()
        assert slots_of_container(found) == (held | added) - out


def test_a_container_is_a_bitmap_as_soon_as_offsets_would_be_no_shorter() -> None:
    some = set(range(FEW))
    few, many, fewer, none = changed(
        [
            (some, set(), set()),
            (some, {LIVE_PAGE_SLOTS - 1}, set()),
            (some | {FEW}, set(), {0}),
            (some, set(), some),
        ]
    )
    assert len(few) == len(fewer) == FEW
    assert few.tolist() == sorted(some)
    assert len(many) == PAGE_WORDS == LIVE_PAGE_SLOTS // 16
    assert len(none) == 0


def test_slots_that_are_there_can_be_added_and_others_taken_out_without_effect() -> None:
    (found,) = changed([({3, 5}, {3}, {4})])
    assert slots_of_container(found) == {3, 5}


def test_containers_are_united_with_what_their_bitmap_holds() -> None:
    rng = np.random.default_rng(0)
    held = [random_set(rng, size) for size in (0, 7, FEW, FEW + 1, 9_000)]
    before = [random_set(rng, 100) for _ in range(3)]
    bitmaps = np.stack([bitmap_of(slots) for slots in before])
    rows = [2, 0, 2, 1, 0]
    containers = [container_of(slots) for slots in held]
    where = np.array([(row, len(part)) for row, part in zip(rows, containers, strict=True)])
    unite_containers(np.concatenate(containers), where, bitmaps)
    for row, slots in enumerate(before):
        wanted = slots.union(*(part for part, at in zip(held, rows, strict=True) if at == row))
        assert bitmaps[row].tobytes() == bitmap_of(wanted).tobytes()


def bitmap_of(slots: set[int]) -> U16:
    bits = np.isin(np.arange(LIVE_PAGE_SLOTS), list(slots))
    return np.packbits(bits, bitorder="little").view("<u2")
