"""Hashes of items, added up: what the content digest is kept of.

The hash of an item is NH (Black, Halevi, Krawczyk, Krovetz and Rogaway, UMAC, 1999) over 32-bit
little-endian words, in four lanes whose keys are shifted by a pair each (the Toeplitz construction
of the same paper). Blocks are chained by the finaliser of splitmix64 (Steele, Lea and Flood, 2014),
which is a bijection: lanes that differ remain different until another block differs.
The sum over items is an incremental multiset hash (Clarke, Devadas, van Dijk, Gassend and
Suh, MSet-Add-Hash, 2003; Bellare and Micciancio, AdHash, 1997).
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

SUMS = 4
"""Lanes of an item's hash, and of the sum."""
HALF = 512
"""Pairs of words in a block."""
BLOCK = 2 * HALF
"""Words that are hashed before the state is mixed."""
SEED = np.uint64(0x73747265616D6C73)
"""What the keys are made from: ``streamls``, for they are no secret."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Step of splitmix64: 2^64 over the golden ratio, odd."""
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Factors of its finaliser."""
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)


def splitmix(count: int) -> U64:
    """The first numbers that splitmix64 gives from ``SEED``, (count,)."""
    with np.errstate(over="ignore"):
        value = SEED + GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        value = (value ^ (value >> S30)) * FIRST
        value = (value ^ (value >> S27)) * SECOND
        return np.asarray(value ^ (value >> S31))


KEYS = splitmix(2 * (HALF + SUMS - 1)) >> S32
"""Those of the first words of all pairs, then those of the second; no two are the same."""
START = splitmix(KEYS.shape[0] + SUMS)[KEYS.shape[0] :]
"""What each lane begins with."""
OTHER = HALF + SUMS - 1
"""Place of the first key for second words."""


@inlined
def finalise(value: int) -> int:
    """The finaliser of splitmix64: a bijection of 64 bits under which all depend on all."""
    value = (value ^ (value >> S30)) * FIRST
    value = (value ^ (value >> S27)) * SECOND
    return value ^ (value >> S31)


@inlined
def product(x: int, y: int, keys: U64, at: int) -> int:
    """Product in 64 bits of two words, each with its key added modulo 2^32."""
    return ((x + keys[at]) & LOW) * ((y + keys[at + OTHER]) & LOW)


@inlined
def add_words(address: int, count: int, keys: U64, state: U64) -> None:
    """Hash words at an address into the state of an item, block by block.

    In a block of n words, word i and word n // 2 + i are a pair; pairs that lie apart are
    loaded without shuffling. The last of an odd number is paired with zero.

    Args:
        address: of little-endian 32-bit words.
        count: how many.
        keys: ``KEYS``.
        state: (SUMS,), changed in place.
    """
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        half = size // 2
        near = carray(pointer(address + 4 * start), half, np.uint32)
        far = carray(pointer(address + 4 * (start + half)), size - half, np.uint32)
        a, b, c, d = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        for i in range(half):
            x, y = np.uint64(near[i]), np.uint64(far[i])
            a += product(x, y, keys, i)
            b += product(x, y, keys, i + 1)
            c += product(x, y, keys, i + 2)
            d += product(x, y, keys, i + 3)
        state[0] += a
        state[1] += b
        state[2] += c
        state[3] += d
        for lane in range(SUMS):
            if size - half > half:
                state[lane] += product(np.uint64(far[half]), np.uint64(0), keys, half + lane)
            state[lane] = finalise(state[lane])


@kernel
def sum_items(records: U8, ends: I64, vectors: I64, dim: int, out: U64) -> None:
    """Add the hashes of items to a sum, each lane modulo 2^64.

    A lane begins with its own number, mixed with both lengths, for a word is a word whether it
    stands in a record or in a vector; then come the words of the record, then those of
    the vector. No block holds words of both.

    Args:
        records: what the items are besides their vectors, one after the other; each is a multiple
            of 4 bytes long.
        ends: (n,) where in ``records`` each ends.
        vectors: (n,) addresses of float32 vectors; their bits count, so 0.0 and -0.0 differ.
        dim: numbers in a vector.
        out: (SUMS,), added to.
    """
    state = np.empty(SUMS, np.uint64)
    base = records.ctypes.data
    begin = np.int64(0)
    for row in range(ends.shape[0]):
        words = (ends[row] - begin) >> 2
        lengths = (np.uint64(words) << S32) | np.uint64(dim)
        for lane in range(SUMS):
            state[lane] = finalise(START[lane] + lengths)
        add_words(base + begin, words, KEYS, state)
        add_words(vectors[row], dim, KEYS, state)
        for lane in range(SUMS):
            out[lane] += state[lane]
        begin = ends[row]
