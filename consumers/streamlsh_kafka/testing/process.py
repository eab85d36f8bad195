"""``streamlsh-kafka run`` as a process of its own, for tests and demos that stop or kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

DEADLINE_SECONDS: Final = 60.0


class ConsumerProcess:
    """A consumer in its own process, with its log read as events.

    Args:
        arguments: what follows ``streamlsh-kafka run``.
        environment: variables besides those of this process.
        module: what to run in place of ``streamlsh_kafka``.

    Attributes:
        lines: what it wrote to standard error so far.
    """

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        module: str = "streamlsh_kafka",
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        command = [sys.executable, "-m", module, "run", *arguments]
        self.process = subprocess.Popen(
            [*command, "--log-format", "json", "--log-level", "debug"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            | dict(environment or {}),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of that name so far."""
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                event = json.loads(line)
                if event["event"] == name:
                    found.append(event)
        return found

    def wait_for(self, name: str, *, count: int = 1, seconds: float = DEADLINE_SECONDS) -> None:
        """Return once ``count`` events of that name were logged.

        Raises:
            TimeoutError: not within ``seconds``, or the process ended first.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(self.events(name)) < count:
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    raise TimeoutError(f"no {count} events {name!r}:\n" + "\n".join(self.lines))
                self._changed.wait(left)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for its end; return the exit code, negative for a signal.

        Raises:
            TimeoutError: it still runs after ``seconds``.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError("the consumer still runs:\n" + "\n".join(self.lines)) from error
        self._reader.join()
        return code

    def kill(self) -> int:
        """End it with SIGKILL; return the exit code."""
        self.process.kill()
        return self.wait()

    def terminate(self) -> int:
        """Ask it to end with SIGTERM; return the exit code."""
        self.process.terminate()
        return self.wait()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP) until `resume`."""
        self.process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
