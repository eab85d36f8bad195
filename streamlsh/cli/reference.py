"""The pages of the command lines in the docs, written from their own help.

``python -m streamlsh.cli.reference MODULE:FUNCTION FILE``, where the function makes the parser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path


def reference(parser: argparse.ArgumentParser) -> str:
    """The Markdown page of a parser and all of its commands."""
    title = f"# {parser.prog}\n\nWritten by `make docs-cli` from the help of the commands."
    sections = (_section(each) for each in (parser, *_commands(parser)))
    return "\n\n".join([title, *sections]) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    # argparse has no public way to a parser's commands and arguments.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _section(parser: argparse.ArgumentParser) -> str:
    arguments = [
        action
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    rows = [f"| {_names(each)} | {_cell(each.help or '')} |" for each in arguments]
    heading = parser.prog if " " in parser.prog else "The program"
    parts = [
        f"## {heading}",
        _fenced(parser.usage or f"{parser.prog} [options] ..."),
        _prose(parser.description or ""),
        "\n".join(["| argument | meaning |", "| --- | --- |", *rows]) if rows else "",
        _fenced((parser.epilog or "").strip()),
    ]
    return "\n\n".join(part for part in parts if part)


def _names(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else ""
    if not value and action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    names = ", ".join(action.option_strings)
    return f"`{' '.join(part for part in (names, value) if part)}`"


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")


def _prose(description: str) -> str:
    """Paragraphs as they are; indented ones, which show a form, as blocks of code."""
    paragraphs = description.split("\n\n")
    return "\n\n".join(
        _fenced(each) if each.startswith("  ") else each.strip() for each in paragraphs
    )


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def main(arguments: list[str]) -> int:
    """Write one page."""
    module, _, function = arguments[0].partition(":")
    parser = getattr(import_module(module), function)()
    Path(arguments[1]).write_text(reference(parser), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
