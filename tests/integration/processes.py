"""Running the modules of this folder as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0
"""Seconds after which a process is given up."""


def command(module: str, *arguments: object) -> list[str]:
    """How to run ``tests/integration/MODULE.py``."""
    return [
        sys.executable, "-W", "error", "-m", f"tests.integration.{module}",
        *map(str, arguments),
    ]  # fmt: skip


def run(module: str, *arguments: object) -> str:
    """Run a module to its end; its output. It must succeed."""
    done = subprocess.run(
        command(module, *arguments), cwd=ROOT, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a module with pipes; the caller waits for it with a deadline."""
    return subprocess.Popen(
        command(module, *arguments), cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Close a process's input and wait for its success; its output."""
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, f"exit code {process.returncode}\n{output}"
    return output


def shrink_parts() -> None:
    """What the fixture ``small_parts`` does, for a process of its own."""
    from streamlsh import planning
    from streamlsh.buckets import merging, segment, tail
    from streamlsh.families import hyperplane, voronoi
    from streamlsh.storage import rows

    for module, name, value in (
        (segment, "TAIL_ENTRIES", 256),
        (tail, "TAIL_ENTRIES", 256),
        (segment, "RATIO", 2),
        (tail, "AT_ONCE", 600),
        (merging, "LEAST", 100),
        (merging, "AMPLIFY", 8),
        (rows, "_BLOCK_BYTES", 1),
        (planning, "EXACT_DIM", 0),
        (planning, "SCAN_UNCALIBRATED", 1_000),
        (hyperplane, "SCAN_BELOW", 1_000),
        (voronoi, "SCAN_BELOW", 1_000),
    ):
        assert hasattr(module, name)
        setattr(module, name, value)
