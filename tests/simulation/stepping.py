"""Threads without threads: what would run beside the consumer runs between two of its calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


class Scheduler(Protocol):
    """Who decides when a task runs."""

    def adopt(self, executor: SteppedExecutor) -> None:
        """A part of the consumer wants tasks to be run."""

    def might(self) -> bool:
        """Whether a task that need not run yet runs now."""


class SteppedExecutor:
    """A `ThreadPoolExecutor` of one thread whose tasks run when the scheduler says so.

    Args:
        scheduler: decides.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._tasks: deque[SteppedFuture] = deque()
        self._running = False
        scheduler.adopt(self)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Take a task on; it may be run at once."""
        task = SteppedFuture(self, lambda: work(*arguments))
        self._tasks.append(task)
        self.perhaps_run()
        return task

    def perhaps_run(self) -> None:
        """Run the next task, if there is one and the scheduler likes."""
        if self._tasks and not self._running and self._scheduler.might():
            self.run_one()

    def run_one(self) -> None:
        """Run the next task to its end."""
        task = self._tasks.popleft()
        self._running = True
        try:
            task.set_result(task.work())
        except BaseException as error:
            task.set_exception(error)
            if not isinstance(error, Exception):
                raise  # the process is dead, and not only this thread of it
        finally:
            self._running = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let a task that is under way end, and drop the others."""
        self.perhaps_run()
        self._tasks.clear()


class SteppedFuture(Future[Any]):
    """The result of a task that runs at the latest when it is asked for."""

    def __init__(self, executor: SteppedExecutor, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work = work
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        """Run what stands before the task, and the task."""
        while not super().done():
            self._executor.run_one()
        return super().result(timeout)
