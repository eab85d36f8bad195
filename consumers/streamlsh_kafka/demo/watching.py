"""The demo's reader: a process of its own that only ever reads the index.

``python -m streamlsh_kafka.demo.watching PATH`` takes one JSON request a line on standard input
and answers each with one JSON line. ``Watcher`` is its other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

import streamlsh
from streamlsh.datasets import glosses
from streamlsh.evaluation import recall_at_k

LOOK_AGAIN_SECONDS = 0.0005
GIVE_UP_SECONDS = 60.0


class Watcher:
    """Starts a reader process and asks it things."""

    def __init__(self, path: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlsh_kafka.demo.watching", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        """Put a request and wait for its answer."""
        self.begin(request, **arguments)
        return self.answer()

    def begin(self, request: str, **arguments: Any) -> None:
        """Put a request without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"request": request} | arguments) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to the request put last."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the reader process ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _state(reader: streamlsh.Reader) -> dict[str, Any]:
    """Items, commit and offset of the latest commit."""
    with reader.snapshot() as snapshot:
        offsets = [position.offset for position in snapshot.positions.values()]
        return {"items": len(snapshot), "commit": snapshot.commit, "offset": sum(offsets)}


def _neighbours(reader: streamlsh.Reader, item: str, k: int, probes: int | None) -> dict[str, Any]:
    """The nearest neighbours of an item, with the texts that are stored with them."""
    with reader.snapshot() as snapshot:
        started = time.perf_counter()
        hits = snapshot.search_ids(item, k, probes=probes)
        seconds = time.perf_counter() - started
        items = [snapshot.get(name) for name in [item, *hits.ids]]
    texts = [(one.attributes or {}).get("text", "") for one in items if one is not None]
    return {
        "text": texts[0],
        "neighbours": list(zip(hits.ids, map(float, hits.scores), texts[1:], strict=True)),
        "commit": hits.commit,
        "offset": sum(position.offset for position in hits.positions.values()),
        "route": hits.plan.route,
        "reason": hits.plan.reason,
        "share": hits.plan.share,
        "seconds": seconds,
    }


def _recall(reader: streamlsh.Reader, start: int, probes: int | None) -> dict[str, Any]:
    """recall@10 of the sample's rows from ``start`` on against a scan of the same snapshot."""
    queries = glosses().vectors[start:]
    with reader.snapshot() as snapshot:
        exact = snapshot.exact(queries, 20)
        hits = snapshot.search(queries, 10, probes=probes)
        return {
            "recall": recall_at_k(hits.ids, exact.ids, exact.scores, 10),
            "queries": len(queries),
            "commit": snapshot.commit,
            "share": hits.plan.share,
            "route": hits.plan.route,
        }


def _see(reader: streamlsh.Reader, item: str, text: str | None) -> dict[str, Any]:
    """Wait until an item says ``text``, or is gone; when that was on the system's clock."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        found = reader.get(item)
        now = time.monotonic()
        if (found and (found.attributes or {}).get("text")) == text:
            return {"seen": True, "at": now, "commit": reader.commit}
        time.sleep(LOOK_AGAIN_SECONDS)
    return {"seen": False, "at": time.monotonic(), "commit": reader.commit}


def _digest(reader: streamlsh.Reader) -> dict[str, Any]:
    """The content's digest."""
    with reader.snapshot() as snapshot:
        return {"digest": snapshot.digest(), "items": len(snapshot), "commit": snapshot.commit}


def _size(reader: streamlsh.Reader) -> dict[str, Any]:
    """The file's size beside that of the vectors alone."""
    sizes: dict[str, Any] = reader.info()["bytes"]
    return sizes


REQUESTS: dict[str, Callable[..., dict[str, Any]]] = {
    "state": _state,
    "neighbours": _neighbours,
    "recall": _recall,
    "see": _see,
    "digest": _digest,
    "size": _size,
}


def main(path: str) -> None:
    """Answer requests until standard input ends."""
    with streamlsh.open(path) as reader:
        reader.search(
            np.ones(reader.config.dim)
        )  # loads the kernels before anybody waits for an answer
        for line in sys.stdin:
            arguments = json.loads(line)
            answer = REQUESTS[arguments.pop("request")](reader, **arguments)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
