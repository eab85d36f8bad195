"""A process that opens an index and asks it once, and says how long that took.

``python -m tests.bench.opened INDEX QUERY.npy [WARM_INDEX]``: with a third argument the kernels
are first loaded by queries on that other index. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import streamlsh

K = 10


def main(arguments: list[str]) -> None:
    """Open, search, print."""
    index, query_file, *warm_index = arguments
    query = np.load(query_file)
    for path in warm_index:
        with streamlsh.open(path) as reader:
            reader.search(query, K)
            reader.search(query, K, probes=1)
    started = time.perf_counter()
    with streamlsh.open(index) as reader:
        opened = time.perf_counter()
        hits = reader.search(query, K)
        answered = time.perf_counter()
        clock = time.monotonic()
    print(
        json.dumps(
            {
                "open_ms": 1_000 * (opened - started),
                "search_ms": 1_000 * (answered - opened),
                "clock": clock,
                "ids": hits.ids,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
