"""Hypothesis strategies: bytes, sound ones that were damaged, and values that nobody would send."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TOKENS = (
    b"", b"\x00", b"\x80", b"\x90", b"\xc0", b"\xc1", b"\xff",
    b"\xdb\x7f\xff\xff\xff", b"\xc6\x80\x00\x00\x00", b"\xdd\x80\x00\x00\x00",
    b"\xdf\x7f\xff\xff\xff", b"\xdd\x00\x00\xff\xff", b"\xdc\xff\xff", b"\xde\x0f\xff",
    b"\xc9\x7f\xff\xff\xff\x01",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xca\x7f\x80\x00\x00", b"\xcf" + b"\xff" * 8,
    b"\x91" * 600, b"\x81\xa1a" * 600, b"\xdd\x00\x00\xff\xff" * 200,
    b"NaN", b"1e999", b"-", b"[" * 2000, b'{"a":' * 2000, b'"\\ud800"',
    b"9" * 5000, b"\xed\xa0\x80", b'"id": "a", ', b'"version": ', b'"tags": [""]',
    b'"attributes": {', b"null", b"true", b"9" * 31,
)  # fmt: skip
"""Declared lengths of 2^31 and less, extensions, NaN, infinity, big integers, deep nesting, halves
of surrogate pairs: what trips decoders up."""


def damaged(sound: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of some sound values with bytes flipped, cut off, repeated or put in."""
    edit = st.tuples(
        st.floats(0, 1), st.integers(0, 8) | st.just(1 << 20),
        st.binary(max_size=4) | st.sampled_from(TOKENS),
    )  # fmt: skip
    flip = st.tuples(st.floats(0, 1), st.integers(0, 7))

    def damage(data: bytes, edits: list[Any], flips: list[Any]) -> bytes:
        for place, length, new in edits:
            start = int(place * len(data))
            data = data[:start] + new + data[start + length :]
        changed = bytearray(data)
        for place, bit in flips:
            if changed:
                changed[int(place * (len(changed) - 1))] ^= 1 << bit
        return bytes(changed)

    return st.builds(
        damage, st.sampled_from(sound), st.lists(edit, max_size=3), st.lists(flip, max_size=2)
    )


def any_bytes(sound: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, most of them close to sound ones."""
    return damaged(sound) | damaged(sound) | st.binary(max_size=200)


def values(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nested values of a data language."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


def within_memory(check: Callable[[bytes], object], data: bytes, most: int) -> None:
    """Run a check and see that Python and NumPy held no more than so many bytes at once."""
    tracemalloc.start()
    try:
        check(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= most, f"{len(data)} bytes took {peak:,} bytes of memory"
