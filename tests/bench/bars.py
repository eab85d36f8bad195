"""Progress on standard error that never moves while something is being timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bars:
    """Bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line, after the minutes and seconds so far."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self._console.print(f"{minutes:3d}:{seconds:02d} {text}", markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar over ``total`` steps; the function it yields is told how many more are done.

        It is drawn by these calls alone: a thread that draws would take the interpreter's lock
        in the middle of a measurement.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        progress = Progress(
            *columns,
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with progress:
            task = progress.add_task(what, total=total)

            def advance(steps: int) -> None:
                progress.advance(task, steps)
                progress.refresh()

            progress.refresh()
            yield advance
