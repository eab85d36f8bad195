"""Progress on standard error: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` steps; the function it yields is told how many are done by now."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def sharing(what: str) -> Iterator[Callable[[float, str], None]]:
    """A bar whose function is told the share that is done, and what is being done."""
    if not sys.stderr.isatty():
        yield lambda _share, _doing: None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share, doing: bar.update(task, completed=share, description=f"{what}: {doing}")


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner for something whose length is not known."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(what):
        yield


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
