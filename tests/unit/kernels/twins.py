"""Every kernel once more in plain NumPy: slow, short, and easy to believe.

Numbers are float64 where the kernel's are float32, so the two agree to rounding; where a kernel
decides something (a bit, a cell, an order), the tests say how near to the border it may differ.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
Ranks = NDArray[np.intp]


def unit_rows(vectors: NDArray[Any]) -> F64:
    """Rows of length one."""
    rows = np.asarray(vectors, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def signs(values: NDArray[Any], split: int, tail_weight: float) -> F64:
    """The signs of residuals, those from ``split`` on weighted."""
    weights = np.where(np.arange(values.shape[-1]) < split, 1.0, tail_weight)
    return np.where(values >= 0, weights, -weights)


def sketch(
    residuals: F64, centres: F64, offset: F64, split: int, tail_weight: float, norms: F64
) -> tuple[F64, F64]:
    """f and a of every row: ``<q, c> + a + f <s, q>`` estimates its product with a query."""
    s = signs(residuals, split, tail_weight)
    f = norms / np.einsum("ij,ij->i", s, residuals)
    a = (
        np.einsum("ij,ij->i", residuals, centres)
        - f * np.einsum("ij,ij->i", s, centres)
        + (residuals + centres) @ offset
    )
    return f, a


def rotated(points: NDArray[Any], signs: NDArray[np.float32]) -> F64:
    """Points written as often as they fit, times signs, times the Hadamard matrix."""
    n, dim = len(signs), points.shape[1]
    i = np.arange(n)
    hadamard = np.where(np.bitwise_count(i[:, None] & i) & 1, -1.0, 1.0)
    padded = np.zeros((len(points), n))
    padded[:, : n // dim * dim] = np.tile(points, (1, n // dim))
    return np.asarray((padded * signs) @ hadamard)


def packed_bits(set_bits: NDArray[np.bool_]) -> U64:
    """(n, width) bits as (n, width // 64) words, the lowest bit first."""
    return np.packbits(set_bits, axis=1, bitorder="little").view("<u8")


def unpacked_bits(words: U64) -> NDArray[np.bool_]:
    """The reverse of ``packed_bits``."""
    flat = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(flat, axis=1, bitorder="little").astype(bool)


def plane_levels(planes: U64) -> NDArray[np.int64]:
    """The levels 0 to 15 of a query's coordinates, from its four bit planes."""
    bits = unpacked_bits(planes).astype(np.int64)
    return np.asarray((bits << np.arange(4)[:, None]).sum(axis=0))


def nibble_levels(codes: NDArray[np.uint8], dim: int) -> NDArray[np.int64]:
    """(n, dim) levels 0 to 15 of 4-bit rows."""
    halves = np.concatenate([codes & 15, codes >> 4], axis=1)
    return np.asarray(halves[:, :dim], np.int64)


def entry_scores(
    bits: U64, f: NDArray[np.float16], a: NDArray[np.float16], bases: F32, planes: U64, delta: float
) -> F32:
    """``base + a + f * <signs, query>`` of entries, in the kernel's own precision."""
    words = planes.shape[1]
    mismatch = np.zeros(len(bits), np.int64)
    for plane in range(4):
        counts = np.bitwise_count(bits ^ planes[plane]).sum(axis=1, dtype=np.int64)
        mismatch += counts << plane
    along = np.float32(delta) * (15 * 64 * words - 2 * mismatch).astype(np.float32)
    return np.asarray(bases + (a.astype(np.float32) + f.astype(np.float32) * along), np.float32)


def two_cells(
    projected: F64, centres: F64, nearest: NDArray[np.int64], spill: float
) -> tuple[int, int]:
    """An item's nearest cell, and SOAR's second, among its nearest in their order."""
    best = int(nearest[0])
    first = projected - centres[best]
    length = first @ first
    costs = []
    for cell in nearest[1:]:
        residual = projected - centres[cell]
        parallel = (residual @ first) ** 2 / length if length > 0 else 0.0
        costs.append(residual @ residual + spill * parallel)
    return best, best if not costs else int(nearest[1 + int(np.argmin(costs))])


def probe_scores(projected: NDArray[Any], tables: int, width: int) -> dict[int, float]:
    """The score of every bucket: the squared margins of the bits that differ from the query's."""
    scores = {}
    for table in range(tables):
        margins = projected[table * width : (table + 1) * width].astype(np.float64)
        home = [bool(value >= 0) for value in margins]
        for bits in itertools.product((False, True), repeat=width):
            key = sum(bit << place for place, bit in enumerate(bits))
            scores[table << width | key] = float(
                sum(m * m for m, a, b in zip(margins, home, bits, strict=True) if a != b)
            )
    return scores


def ranks_of(ids: list[bytes]) -> Ranks:
    """The place of each id among all of them, sorted."""
    return np.asarray(np.argsort(sorted(range(len(ids)), key=ids.__getitem__)))


def best_of(scores: NDArray[Any], ranks: Ranks, limit: int) -> NDArray[np.intp]:
    """Places of the ``limit`` highest scores, best first; of equal ones, those of the first ids."""
    return np.asarray(np.lexsort((ranks, -scores))[:limit])


def merged(slots: list[int], scores: list[float], copies: int) -> dict[int, float]:
    """Each slot with its best score, if it stands there often enough."""
    count = Counter(slots)
    best: dict[int, float] = {}
    for slot, score in zip(slots, scores, strict=True):
        best[slot] = max(score, best.get(slot, -np.inf))
    return {slot: score for slot, score in best.items() if count[slot] >= copies}


def code_scores(
    codes: NDArray[np.uint8],
    step: F32,
    inverse: F32,
    query_codes: NDArray[np.int8],
    query_step: float,
    metric: str,
) -> F32:
    """Estimates of rows by their 4-bit codes, in the kernel's own precision."""
    levels = nibble_levels(codes, 2 * codes.shape[1])
    products = levels @ query_codes.astype(np.int64)
    steps = np.float32(0.5 * query_step) * step
    scores = (2 * products - 15 * query_codes.sum(dtype=np.int64)).astype(np.float32) * steps
    if metric != "cosine":
        lengths = np.divide(np.float32(1), inverse, np.zeros_like(inverse), where=inverse > 0)
        scores = scores * lengths
        if metric == "euclidean":
            scores = scores - np.float32(0.5) * (lengths * lengths)
    return np.asarray(scores, np.float32)


def exact_scores(vectors: F32, query: F32, metric: str) -> F64:
    """Cosine of a unit query, inner product, or the negated squared distance."""
    rows, x = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(-((rows - x) ** 2).sum(axis=1))
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows @ x)


def container_of(slots: set[int]) -> NDArray[np.uint16]:
    """The slots of a page as offsets, or as a bitmap where offsets would be no shorter."""
    if len(slots) < 1024:
        return np.array(sorted(slots), np.uint16)
    bits = np.zeros(1 << 14, np.bool_)
    bits[list(slots)] = True
    return np.packbits(bits, bitorder="little").view("<u2")


def slots_of_container(container: NDArray[np.uint16]) -> set[int]:
    """The reverse of ``container_of``."""
    if len(container) < 1024:
        return set(container.tolist())
    bits = np.unpackbits(np.ascontiguousarray(container).view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())
