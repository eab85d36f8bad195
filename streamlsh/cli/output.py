"""What a command prints: one JSON object, or text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    print(json.dumps(value))


def print_lines(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, aligned."""
    rows = [(name, printable(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, tab-separated with a header line elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(printable(cell) for cell in row))
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        # Text, so that brackets in an id are not taken for markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def printable(value: object) -> str:
    """A value as text that cannot move the cursor or break a line."""
    text = f"{value:,}" if type(value) is int else str(value)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def flattened(
    value: Mapping[str, Any] | Sequence[Any], prefix: str = ""
) -> Iterator[tuple[str, object]]:
    """The leaves of nested maps and lists, each with its dotted name."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in items:
        if not isinstance(item, Mapping | list):
            yield f"{prefix}{name}", item
        elif item:
            yield from flattened(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none"
