"""Fixtures of the command line: a small index, and a way to run commands in this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh.cli import main

DIM = 8


PROGRAM = (sys.executable, "-c", "import sys, streamlsh.cli as c; sys.exit(c.main())")
"""The command line in a process of its own; its arguments follow."""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line and return its exit code and output."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An index without items."""
    path = tmp_path / "empty.index"
    streamlsh.create(path, dim=DIM, metric="cosine")
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of 20 items, item-07 with everything an item can have."""
    path = tmp_path / "items.index"
    streamlsh.create(path, dim=DIM, metric="cosine")
    vectors = np.random.default_rng(0).standard_normal((20, DIM)).astype(np.float32)
    with streamlsh.writer(path) as writer:
        writer.upsert([f"item-{number:02}" for number in range(20)], vectors)
        writer.upsert(
            ["item-07"],
            vectors[7:8],
            versions=[5],
            tags=[["new", "sale"]],
            attributes=[{"text": "grün [bold]", "price": 9.5}],
        )
        writer.commit([streamlsh.Position("topic", 0, 42)])
    return path
