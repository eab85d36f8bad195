"""What all commands have in common.

A command names its function as ``module:function``; nothing heavy is imported to parse a line.
"""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where commands are added; generic in the stubs only."""


def command(
    commands: Commands,
    name: str,
    handler: str,
    *,
    usage: str,
    summary: str,
    description: str,
    example: str,
    path: bool = True,
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: where.
        name: what is typed.
        handler: the function that does it, as ``module:function`` below ``streamlsh.cli``.
        usage: what follows the name.
        summary: one line for the list of all commands.
        description: what it does, for its own help.
        example: lines that can be typed.
        path: whether it begins with the path of an index.

    Returns:
        Its parser, to add further arguments to.
    """
    parser = commands.add_parser(
        name,
        usage=f"streamlsh {name} {usage}",
        help=summary,
        description=description,
        epilog=epilog(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if path:
        parser.add_argument("path", metavar="PATH", help="the index, a directory")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output, errors too"
    )
    parser.set_defaults(handler=f"streamlsh.cli.{handler}")
    return parser


def epilog(example: str) -> str:
    """Examples as they stand below a help text."""
    return "example:\n" + "\n".join(f"  {line}" for line in example.splitlines())
