"""The codes of a vector are the same bits alone, in any batch, and after storage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh.families.base import Encoded, Family
from streamlsh.families.registry import family_named
from streamlsh.kernels.encode import normalize_rows
from tests.conftest import FAMILIES
from tests.live_entries import Entry, live_entries

DIMS = (1, 3, 31, 128, 129, 384, 513, 1000)
ROWS = 96


def vectors_of(dim: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((ROWS, dim)) * rng.choice([1e-9, 1, 1e9], (ROWS, 1))
    rows[0, 1:] = 0
    return np.asarray(rows, np.float32)


def unit_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = np.empty_like(rows)
    normalize_rows(rows, unit, np.empty(len(rows), np.float32))
    return unit


def family_of(name: str, rows: NDArray[np.float32]) -> Family:
    return family_named(name).fit(rows.shape[1], 3, unit_of(rows), {})


def as_bytes(encoded: Encoded, row: int) -> list[Entry]:
    """One row's entries, as ``live_entries`` shows them."""
    return sorted(
        (
            int(encoded.buckets[row, copy]),
            encoded.bits[row, copy].tobytes(),
            encoded.f[row, copy].tobytes(),
            encoded.a[row, copy].tobytes(),
        )
        for copy in range(encoded.buckets.shape[1])
    )


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_codes_are_the_same_bits_alone_and_at_any_place_of_any_batch(name: str, dim: int) -> None:
    rows = vectors_of(dim)
    unit = unit_of(rows)
    family = family_of(name, rows)
    together = family.encode(unit)
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = family.encode(unit[order])
    sliced = family.encode(unit[::2][5:40])
    for row in range(ROWS):
        whole = as_bytes(together, row)
        assert unit_of(rows[row : row + 1]).tobytes() == unit[row : row + 1].tobytes()
        assert as_bytes(family.encode(unit[row : row + 1]), 0) == whole
        assert as_bytes(shuffled, int(np.flatnonzero(order == row)[0])) == whole
        if row % 2 == 0 and 5 <= row // 2 < 40:
            assert as_bytes(sliced, row // 2 - 5) == whole


@pytest.mark.parametrize("name", FAMILIES)
def test_codes_are_the_same_bits_from_several_threads(name: str) -> None:
    rows = vectors_of(129)
    unit = unit_of(rows)
    family = family_of(name, rows)
    whole = family.encode(unit)
    with ThreadPoolExecutor(4) as pool:
        for encoded in pool.map(family.encode, [unit] * 16):
            for ours, theirs in (
                (encoded.buckets, whole.buckets),
                (encoded.bits, whole.bits),
                (encoded.f, whole.f),
                (encoded.a, whole.a),
            ):
                assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_codes_are_the_same_bits_after_storage_and_reopening(
    name: str, dim: int, tmp_path: Path
) -> None:
    rows = vectors_of(dim)
    path = tmp_path / "index"
    streamlsh.create(path, dim=dim, family=name, sample=rows, seed=3)
    ids = [f"{row}" for row in range(ROWS)]
    with streamlsh.writer(path) as writer:
        for start, stop in ((0, 1), (1, 2), (2, 50), (50, ROWS)):
            writer.upsert(ids[start:stop], rows[start:stop])
            writer.commit()
    family = family_of(name, rows)
    with streamlsh.open(path) as reader:
        stored = live_entries(reader)
        for row, item_id in enumerate(ids):
            assert stored[item_id] == as_bytes(family.encode(unit_of(rows[row : row + 1])), 0)
            item = reader.get(item_id)
            assert item is not None
            assert item.vector.tobytes() == rows[row].tobytes()
        reader.verify()
        assert reader.search(rows[5], 3).scores[0] == pytest.approx(1, abs=2e-6)
        assert reader.search(rows[5], 3, probes=1).scores[0] == pytest.approx(1, abs=2e-6)
