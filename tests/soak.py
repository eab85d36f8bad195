"""The long forms of everything: ``python -m tests.soak PAGE`` runs them and keeps their output.

Each step is a process of its own. What they print is shown as it comes and kept as a page in
Markdown, and a table of the steps ends both. The exit code is 1 if a step failed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = {
    "STREAMLSH_KILLS": "500",
    "STREAMLSH_FLIPS": "2500",
    "STREAMLSH_SOAK_SECONDS": "300",
    "STREAMLSH_BROKER_AWAY": "60",
    "STREAMLSH_FLOOD": "60",
    "STREAMLSH_STALL_SECONDS": "60",
    "STREAMLSH_READER_STOPPED": "120",
    "CI": "true",  # a missing broker is a failure
}
NO_TIMEOUT = ("-o", "timeout=0")


@dataclass(frozen=True, slots=True)
class Step:
    """One process: what it is about, and the arguments of Python."""

    title: str
    arguments: tuple[str, ...]


STEPS = (
    Step(
        "faults on a real broker, damaged files, readers under load",
        ("-m", "pytest", "-v", "--no-header", "--tb=short", "--durations=15",
         "-p", "no:cacheprovider", *NO_TIMEOUT,
         "tests/faults"),
    ),
    Step("simulation", ("-m", "tests.simulation", "--runs", "20000")),
)  # fmt: skip


def run(
    step: Step, environment: Mapping[str, str], say: Callable[[str], None]
) -> tuple[int, float]:
    """Run a step and pass on what it prints; its exit code and seconds."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *step.arguments], cwd=ROOT, env=dict(environment), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip("\n"))
        code = process.wait()
    return code, time.monotonic() - started


def soak(steps: tuple[Step, ...], say: Callable[[str], None]) -> bool:
    """Run all steps, whether one fails or not, and say what became of them."""
    environment = os.environ | LONG
    say(f"streamlsh soak, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    say(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    say(" ".join(f"{name}={value}" for name, value in LONG.items()))
    outcomes = []
    for step in steps:
        say(f"\n== {step.title}: python {' '.join(step.arguments)}")
        outcomes.append(run(step, environment, say))
    say("\n== summary")
    for step, (code, seconds) in zip(steps, outcomes, strict=True):
        word = "passed" if code == 0 else f"FAILED ({code})"
        say(f"{word:12} {seconds / 60:6.1f} min  {step.title}")
    return all(code == 0 for code, _ in outcomes)


HEAD = """# The last soak

What `make soak` printed the last time, whole: the long forms of the tests that
[what can go wrong](what-can-go-wrong.md) names. The summary is at the end.

```text
"""


def main(page: Path) -> int:
    """Run everything; the page is written as it goes, so that a soak cut short leaves its part."""
    with page.open("w", encoding="utf-8") as file:

        def say(line: str) -> None:
            print(line, flush=True)
            file.write(line.replace("```", "` ` `") + "\n")
            file.flush()

        file.write(HEAD)
        passed = soak(STEPS, say)
        file.write("```\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
