"""The command line explains itself, quickly."""

import argparse
import re
import subprocess
import sys

import pytest

from streamlsh.cli.parser import build_parser
from tests.unit.cli.conftest import Run

COMMANDS = (
    "tune", "create", "load", "calibrate", "search", "get", "info", "verify", "digest", "export",
    "upgrade", "warm",
)  # fmt: skip


def _parsers() -> dict[str, argparse.ArgumentParser]:
    action = next(
        each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction)
    )
    return dict(action.choices)


def test_help_loads_neither_numpy_nor_numba_nor_rich() -> None:
    code = (
        "import sys\n"
        "from streamlsh.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'numpy', 'numba', 'lmdb', 'rich'} & sys.modules.keys()))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert out.splitlines()[-1] == "[]"


def test_there_is_every_command_that_was_promised() -> None:
    assert tuple(_parsers()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_describes_it_and_shows_an_example(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    parser = _parsers()[command]
    assert parser.description
    assert f"streamlsh {command} " in (parser.epilog or "")
    assert "--json" in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_the_help_can_be_parsed(command: str) -> None:
    for line in (_parsers()[command].epilog or "").splitlines()[1:]:
        program, *arguments = line.split()
        assert program == "streamlsh"
        assert build_parser().parse_args(arguments).handler


def test_version_is_the_distributions(run: Run) -> None:
    assert re.fullmatch(r"streamlsh \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["nonsense"],
        ["create", "x"],
        ["create", "x", "--dim", "many"],
        ["search", "x"],
        ["search", "x", "--id", "a", "--vector", "b.npy"],
        ["search", "x", "--id", "a", "--exact", "--recall", "0.9"],
        ["search", "x", "--id", "a", "--tag"],
        ["tune", "x.npy"],
        ["tune", "x.npy", "--items", "many"],
        ["calibrate"],
        ["get", "x"],
    ],
)
def test_a_line_that_makes_no_sense_exits_with_2(run: Run, line: list[str]) -> None:
    outcome = run(*line)
    assert outcome.code == 2
    assert "usage: streamlsh" in outcome.err
