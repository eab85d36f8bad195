"""The consumer, made to kill itself at a named point.

``python -m tests.faults.killing run ...`` is ``streamlsh-kafka run ...`` with one function wrapped
from outside: SIGKILL comes when ``STREAMLSH_KILL_AT``, ``POINT:PASSAGE``, is passed for that time.
Nothing of it is in the product.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import lmdb

from streamlsh import applying, commit, writing
from streamlsh.buckets import tail
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.environment import Environment
from streamlsh_kafka import batches, cli
from streamlsh_kafka.dead_letters import KafkaDeadLetters
from streamlsh_kafka.kafka_source import KafkaSource
from streamlsh_kafka.logs import configure_logs, event
from tests.integration.processes import shrink_parts

VARIABLE: Final = "STREAMLSH_KILL_AT"

FUNCTIONS: Final[dict[str, tuple[Any, str]]] = {
    "open": (writing, "open_index"),
    "poll": (KafkaSource, "poll"),
    "decode": (batches, "decode_all"),
    "dead letters": (KafkaDeadLetters, "put"),
    "rows": (applying, "store_rows"),
    "entries": (applying, "add_entries"),
    "segment": (tail, "write_segment"),
    "merge": (tail, "go_on"),
    "slots given": (applying, "give_slots"),
    "reclaim": (applying.Step, "_free_purged"),
    "live": (Bitmap, "write"),
    "positions": (commit, "write_positions"),
    "begin sweep": (writing.Writer, "begin_sweep"),
    "end sweep": (writing.Writer, "end_sweep"),
}
"""Points ``before NAME`` and ``after NAME`` are the begin and the end of these functions."""

POINTS: Final = (
    *(f"{side} {name}" for name in FUNCTIONS for side in ("before", "after")),
    "before write", "in write", "before commit", "after commit",
)  # fmt: skip
"""All points. The last four are those of LMDB's write transaction."""

RARE: Final = ("open", "segment", "merge", "reclaim", "dead letters", "sweep")
"""Points with one of these words are passed a few times in a run at most."""

MERGED_AT_ONCE: Final = 512
"""Entries: so few that merges of a small index last for several commits too."""


class Killer:
    """Counts passages of a point, and kills this process at the last.

    Args:
        point: one of ``POINTS``.
        passage: at which passage, from 1.
    """

    def __init__(self, point: str, passage: int) -> None:
        self.point = point
        self._left = passage

    def passed(self, point: str) -> None:
        """Say that a point is passed now."""
        if point == self.point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap the function that the point is at.

        Raises:
            AttributeError: one of the functions is not where it was.
        """
        for owner, attribute in FUNCTIONS.values():
            getattr(owner, attribute)
        for name, (owner, attribute) in FUNCTIONS.items():
            if self.point in {f"before {name}", f"after {name}"}:
                setattr(owner, attribute, self._around(getattr(owner, attribute), name))
                return
        self._wrap_transactions()

    def _around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self.passed(f"before {name}")
            result = function(*arguments, **keywords)
            self.passed(f"after {name}")
            return result

        return wrapped

    def _wrap_transactions(self) -> None:
        write, killer = Environment.write, self

        @contextmanager
        def wrapped(environment: Environment) -> Iterator[lmdb.Transaction]:
            killer.passed("before write")
            with write(environment) as transaction:
                killer.passed("in write")
                yield transaction
                killer.passed("before commit")
            killer.passed("after commit")

        Environment.write = wrapped  # type: ignore[method-assign, assignment]


def say_when_it_polls() -> None:
    """Log ``polls`` when the topic is asked for records for the first time."""
    poll = KafkaSource.poll
    polled = False

    def saying(*arguments: Any) -> Any:
        nonlocal polled
        if not polled:
            polled = True
            event(logging.getLogger(__name__), logging.INFO, "polls")
        return poll(*arguments)

    KafkaSource.poll = saying  # type: ignore[method-assign, assignment]


def main() -> int:
    """Set the trap, and run the real command line."""
    say_when_it_polls()
    point, _, passage = os.environ.get(VARIABLE, "").partition(":")
    shrink_parts()
    tail.AT_ONCE = MERGED_AT_ONCE  # type: ignore[attr-defined]
    if point:
        assert point in POINTS
        Killer(point, int(passage)).install()
    configure_logs(level="debug", form="json")
    event(logging.getLogger(__name__), logging.INFO, "begins")
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
