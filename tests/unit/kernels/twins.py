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


def best_of(pairs: dict[int, float], limit: int) -> list[float]:
    """The ``limit`` highest scores, best first."""
    return sorted(pairs.values(), reverse=True)[:limit]


def merged(slots: list[int], scores: list[float], copies: int) -> dict[int, float]:
    """Each slot with its best score, if it stands there often enough."""
    count = Counter(slots)
    best: dict[int, float] = {}
    for slot, score in zip(slots, scores, strict=True):
        best[slot] = max(score, best.get(slot, -np.inf))
    return {slot: score for slot, score in best.items() if count[slot] >= copies}
