"""A process that replaces items of an index at a steady rate, between "go" and "stop".

``python -m tests.bench.updating INDEX FOLDER RATE``: the folder holds ``ids.json`` and
``vectors.npy``, which are gone through again and again. Reads lines from standard input and
answers each with one: "go" with "going" once the first commit is durable, "stop" with a JSON
object of the updates since "go" and the seconds they took. Ends with its input.
"""

from __future__ import annotations

import json
import select
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

import streamlsh

COMMIT_SECONDS = 0.01
MOST_A_COMMIT = 1_000


def main(arguments: list[str]) -> None:
    """Obey until the input ends."""
    index, folder_text, rate_text = arguments
    folder, rate = Path(folder_text), float(rate_text)
    ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    numbers = cycle(range(len(ids)))
    with streamlsh.writer(index) as writer:
        for line in sys.stdin:
            if line.strip() != "go":
                raise ValueError(f"expected 'go', received {line!r}")
            done, started = 0, time.monotonic()
            while not (done and _asked_to_stop()):
                due = int((time.monotonic() - started) * rate) - done
                rows = list(islice(numbers, min(due, MOST_A_COMMIT)))
                if rows:
                    writer.upsert([ids[row] for row in rows], vectors[rows])
                    writer.commit()
                    if not done:
                        print("going", flush=True)
                    done += len(rows)
                behind = (time.monotonic() - started) * rate - done
                time.sleep(max(0.0, COMMIT_SECONDS - behind / rate))
            seconds = time.monotonic() - started
            sys.stdin.readline()
            print(json.dumps({"updates": done, "seconds": seconds}), flush=True)


def _asked_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    main(sys.argv[1:])
