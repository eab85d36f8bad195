"""Tables and plots that stand beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page.

    Attributes:
        group: which benchmark it belongs to.
        title: above it.
        columns: the first one holds names.
        rows: cells as they are printed.
        data: the same as numbers for scripts.
    """

    group: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What scripts need, ready for JSON."""
        return {"group": self.group, "title": self.title, "data": self.data}


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of the page.

    Attributes:
        group: which benchmark it belongs to.
        name: of the file, without its ending.
        caption: what it shows.
        svg: the file's text.
    """

    group: str
    name: str
    caption: str
    svg: str


def number(value: float | None) -> str:
    """Three significant digits or so, thousands set apart; empty for ``None``."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
