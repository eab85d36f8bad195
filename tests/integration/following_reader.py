"""A reader that answers each line of its input.

``python -m tests.integration.following_reader PATH``. A line is an id; the answer is how many
items there are, and the id that a search for that item's own vector finds. Threads ask all the
while.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

import streamlsh


def ask(reader: streamlsh.Reader, stop: threading.Event, failures: list[str]) -> None:
    query = np.ones(reader.config.dim)
    while not stop.is_set():
        try:
            reader.exact(query)
            reader.search(query)
        except Exception as error:  # noqa: BLE001 - reported to the test
            failures.append(repr(error))
            return


def main(path: str) -> None:
    failures: list[str] = []
    stop = threading.Event()
    with streamlsh.open(path) as reader:
        threads = [threading.Thread(target=ask, args=(reader, stop, failures)) for _ in range(2)]
        for thread in threads:
            thread.start()
        print("ready", flush=True)
        for line in sys.stdin:
            item = reader.get(line.strip())
            found = reader.search(item.vector, 1).ids if item else []
            print(len(reader), *found, flush=True)
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
        reader.verify()
    assert not failures, failures


if __name__ == "__main__":
    main(sys.argv[1])
