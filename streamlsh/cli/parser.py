"""The parser of the command line, from its first page of help to its commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from streamlsh.cli.lines import asking, inspecting, making
from streamlsh.cli.lines.command import epilog

_DESCRIPTION = """\
A nearest-neighbour index in one LMDB file, kept current while it is read. These
commands choose and make an index, fill it from a file, ask it and check it. To have
it follow a Kafka topic, see streamlsh-kafka."""


_EXAMPLE = """\
python -m streamlsh.datasets glosses.jsonl      # the shipped sample, 5,000 entries
streamlsh create words.index --dim 384 --metric cosine
streamlsh load words.index glosses.jsonl
streamlsh search words.index --id light_up -k 5 --attributes"""

_EXIT_CODES = """\
Every command takes --json and then prints one JSON object on standard output.
Progress goes to standard error, and only to a terminal. Exit codes:
  0    done
  1    not done: one line on standard error says why and what to do next; with
       --json also {"error": {"type", "message"}} on standard output
  2    the command line makes no sense
  130  interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``streamlsh`` with all of its commands."""
    parser = argparse.ArgumentParser(
        prog="streamlsh",
        usage="streamlsh [--version] COMMAND ...",
        description=_DESCRIPTION,
        epilog=f"{epilog(_EXAMPLE)}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command", prog="streamlsh"
    )
    for add in (
        making.tune, making.create, making.load, making.calibrate, asking.search, asking.get,
        inspecting.info, inspecting.verify, inspecting.digest, inspecting.export,
        inspecting.upgrade, inspecting.warm,
    ):  # fmt: skip
        add(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than all the rest of the help."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"streamlsh {version('streamlsh')}")
        parser.exit()
