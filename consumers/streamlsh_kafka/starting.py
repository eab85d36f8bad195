"""Where ``streamlsh-kafka`` begins; and how to load what stays for as long as the process lives."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Load libraries, or the kernels at their first use, with the garbage collector off.

    They are some hundred thousand objects. To look for cycles among them takes a seventh of a
    second of a start, and 50 ms of every full collection later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> int:
    """Run the command line; see ``streamlsh_kafka.cli.main``."""
    with loading():
        from streamlsh_kafka.cli import main as run  # noqa: PLC0415 - that is what is loaded
    return run()
