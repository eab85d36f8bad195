"""Hashes of items and their sums, against whole numbers of Python."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels.content import BLOCK, HALF, KEYS, SEED, START, SUMS, sum_items
from tests.unit.kernels.memory import Memory

F32 = NDArray[np.float32]
TOP = 1 << 64


def finalised(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % TOP
    value = (value ^ value >> 27) * 0x94D049BB133111EB % TOP
    return value ^ value >> 31


def random_number(place: int) -> int:
    """The number that splitmix64 gives at a place, counted from zero."""
    return finalised((int(SEED) + (place + 1) * 0x9E3779B97F4A7C15) % TOP)


def hash_of(record: bytes, vector: bytes) -> list[int]:
    """The four lanes of an item's hash, as the papers write them."""
    texts = [struct.unpack(f"<{len(text) // 4}I", text) for text in (record, vector)]
    lanes = []
    for lane in range(4):
        start = random_number(2 * (512 + 3) + lane)
        state = finalised((start + (len(texts[0]) << 32) + len(texts[1])) % TOP)
        for words in texts:
            for begin in range(0, len(words), 1024):
                block = words[begin : begin + 1024]
                half = len(block) // 2
                firsts = [*block[:half], block[-1]] if len(block) % 2 else block[:half]
                seconds = [*block[half : 2 * half], 0]
                for i, (x, y) in enumerate(zip(firsts, seconds, strict=False)):
                    first_key = random_number(i + lane) >> 32
                    second_key = random_number(512 + 3 + i + lane) >> 32
                    state += ((x + first_key) % 2**32) * ((y + second_key) % 2**32)
                state = finalised(state % TOP)
        lanes.append(state)
    return lanes


def sums_of(records: list[bytes], vectors: F32, addresses: list[int] | None = None) -> list[int]:
    """What ``sum_items`` adds to nothing."""
    memory = Memory()
    where = addresses or [memory.keep(vector) for vector in vectors]
    ends = np.cumsum([len(record) for record in records], dtype=np.int64)
    out = np.zeros(SUMS, np.uint64)
    text = np.frombuffer(b"".join(records), np.uint8)
    sum_items(text, ends, np.array(where, np.int64), vectors.shape[1], out)
    lanes: list[int] = out.tolist()
    return lanes


def total(hashes: list[list[int]]) -> list[int]:
    return [sum(lanes) % TOP for lanes in zip(*hashes, strict=True)]


def items_of(sizes: list[int], dim: int, seed: int = 0) -> tuple[list[bytes], F32]:
    """Records of so many words, and vectors."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(4 * size) for size in sizes], rng.standard_normal(
        (len(sizes), dim), np.float32
    )


def test_the_keys_are_those_of_splitmix_and_no_two_are_the_same() -> None:
    assert KEYS.tolist() == [random_number(place) >> 32 for place in range(len(KEYS))]
    assert START.tolist() == [random_number(len(KEYS) + lane) for lane in range(SUMS)]
    assert len(set(KEYS.tolist())) == len(KEYS) == 2 * (HALF + SUMS - 1)


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 385, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_the_hash_of_an_item_is_that_of_the_papers_at_any_length(dim: int) -> None:
    rng = np.random.default_rng(dim)
    sizes = [0, 1, 2, 3, 16, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 0, *rng.integers(0, 3_000, 6)]
    records, vectors = items_of(sizes, dim, dim)
    hashes = [hash_of(a, b.tobytes()) for a, b in zip(records, vectors, strict=True)]
    assert sums_of(records, vectors) == total(hashes)
    for row, own in enumerate(hashes):
        assert sums_of(records[row : row + 1], vectors[row : row + 1]) == own


@pytest.mark.parametrize("word", [0, 1, 2**31, 2**32 - 1])
def test_words_that_overflow_with_their_keys_are_added_modulo_two_to_the_32(word: int) -> None:
    words = np.full(11, word, np.uint32)
    other = (np.uint64(2**32 - 1) - KEYS[:10]).astype(np.uint32)
    for text in (words, other, other + np.uint32(1)):
        record = text.tobytes()
        assert sums_of([record], text.view(np.float32)[None]) == hash_of(record, record)


def test_no_items_are_nothing_and_what_was_summed_before_remains() -> None:
    out = np.array([1, 2, 3, TOP - 1], np.uint64)
    nothing = np.zeros(0, np.int64)
    sum_items(np.zeros(0, np.uint8), nothing, nothing, 5, out)
    assert out.tolist() == [1, 2, 3, TOP - 1]
    vector = np.ones(5, np.float32)
    sum_items(np.zeros(0, np.uint8), nothing[:1], nothing[:1], 5, out)
    place = np.array([vector.ctypes.data])
    sum_items(np.zeros(0, np.uint8), np.zeros(1, np.int64), place, 5, out)
    assert out.tolist() == total([[1, 2, 3, TOP - 1], hash_of(b"", vector.tobytes())])


def test_vectors_are_read_where_they_are_in_a_larger_array() -> None:
    records, vectors = items_of([4, 9, 2], 13)
    around = np.full((7, 21), np.inf, np.float32)
    around[[5, 0, 3], 3:16] = vectors
    places = [around.ctypes.data + 4 * (21 * row + 3) for row in (5, 0, 3)]
    assert sums_of(records, vectors, places) == sums_of(records, vectors)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_sums_are_the_same_in_any_order_and_in_batches_of_any_size(size: int) -> None:
    rng = np.random.default_rng(size)
    records, vectors = items_of(rng.integers(0, 40, 100).tolist(), 33)
    order = rng.permutation(100)
    parts = [order[at : at + size] for at in range(0, 100, size)]
    sums = [sums_of([records[row] for row in part], vectors[part]) for part in parts]
    assert total(sums) == sums_of(records, vectors)


@pytest.mark.parametrize(("words", "dim"), [(5, 3), (4, 6), (1, 1)])
def test_every_flipped_bit_changes_every_lane_by_half_of_its_bits(words: int, dim: int) -> None:
    [record], vectors = items_of([words], dim)
    before = sums_of([record], vectors)
    whole = record + vectors.tobytes()
    changed = []
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        vector = np.frombuffer(flipped, np.float32, offset=4 * words)[None]
        after = sums_of([bytes(flipped[: 4 * words])], vector)
        changed.append([(x ^ y).bit_count() for x, y in zip(before, after, strict=True)])
    counts = np.array(changed)
    assert counts.min() > 0
    # A mean of n binomials of 64 fair bits: six standard deviations.
    np.testing.assert_allclose(counts.mean(axis=0), 32, atol=6 * 4 / np.sqrt(len(counts)))


def test_items_that_swap_vectors_are_others() -> None:
    records, vectors = items_of([6, 6], 8)
    assert sums_of(records, vectors) != sums_of(records, vectors[::-1])
    assert sums_of(records, vectors) == sums_of(records[::-1], vectors[::-1])


def test_zeros_at_the_end_and_words_on_the_other_side_make_another_item() -> None:
    zeros = np.zeros(12, np.float32)
    splits = [(a, b) for a in range(9) for b in range(1, 9)]
    hashes = {tuple(sums_of([bytes(4 * a)], zeros[None, :b])) for a, b in splits}
    assert len(hashes) == len(splits)
    negative = -zeros[None]
    assert sums_of([b""], negative) != sums_of([b""], zeros[None])


def test_lanes_are_not_one_another() -> None:
    records, vectors = items_of([3] * 200, 5)
    hashes = [
        sums_of([record], vector[None]) for record, vector in zip(records, vectors, strict=True)
    ]
    numbers = sorted(lane for lanes in hashes for lane in lanes)
    assert all(one < other for one, other in pairwise(numbers))
