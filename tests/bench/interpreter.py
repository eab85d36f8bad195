"""What Python adds to a query: the whole call, less the kernel that does the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import streamlsh
from streamlsh.kernels.asking import find_hits
from tests.bench.peers.base import F32, K

QUERIES = 40
ROUNDS, CALLS = 5, 100


def interpreter_us(reader: streamlsh.Reader, queries: F32, recall: float) -> list[float]:
    """Microseconds beside the kernel, query by query: the same one again and again, so that the
    caches hold all of it, and the best of some rounds of each."""
    added = []
    for query in queries[:QUERIES]:
        ask = partial(reader.search, query, K, recall=recall)
        whole = _best_us(ask)
        kernel = _best_us(partial(find_hits, *_kernel_arguments(ask)))
        added.append(whole - kernel)
    return added


def _kernel_arguments(call: Callable[[], object]) -> tuple[Any, ...]:
    """What a call hands to the kernel."""
    with patch("streamlsh.search.find_hits", wraps=find_hits) as kernel:
        call()
    arguments: tuple[Any, ...] = kernel.call_args.args
    return arguments


def _best_us(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, 1e6 * (time.perf_counter() - started) / CALLS)
    return best
