"""Runbooks in the form of big-ann-benchmarks' streaming track: read, and checked step by step."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

MOST_POINTS, TRUTH_URL = "max_pts", "gt_url"
FIELDS = {
    "insert": ("start", "end"),
    "delete": ("start", "end"),
    "replace": ("tags_start", "tags_end", "ids_start", "ids_end"),
    "search": (),
}


class RunbookError(ValueError):
    """A runbook that cannot be run.

    Attributes:
        place: the file, or the data set in it.
        step: number of the step; ``None`` if it is about the whole.
        expected: what should be there.
        received: what is.
    """

    def __init__(self, place: str, step: int | None, expected: str, received: str) -> None:
        self.place, self.step = place, step
        self.expected, self.received = expected, received
        where = place if step is None else f"{place}, step {step}"
        super().__init__(f"{where}: expected {expected}, received {received}; correct the runbook")


@dataclass(frozen=True, slots=True)
class Insert:
    """New items: each has the number of its row."""

    rows: range


@dataclass(frozen=True, slots=True)
class Delete:
    """Items that go."""

    tags: range


@dataclass(frozen=True, slots=True)
class Replace:
    """Items that stay, with the vectors of other rows."""

    tags: range
    rows: range


@dataclass(frozen=True, slots=True)
class Search:
    """All queries, against what is live."""


Operation = Insert | Delete | Replace | Search


@dataclass(frozen=True, slots=True)
class Step:
    """One operation.

    Attributes:
        number: in the file; steps are done in this order.
        operation: what is done.
    """

    number: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Runbook:
    """What is done to an index of one data set.

    Attributes:
        dataset: its name.
        most_points: that are live at any time.
        steps: in order; at least one of them searches.
    """

    dataset: str
    most_points: int
    steps: tuple[Step, ...]

    @property
    def rows(self) -> int:
        """How many rows the data set must have."""
        used = [
            step.operation.rows.stop
            for step in self.steps
            if isinstance(step.operation, Insert | Replace)
        ]
        return max(used, default=0)

    def shrunk(self, by: int) -> Runbook:
        """The same with all numbers divided.

        Raises:
            RunbookError: a number cannot be divided by that.
        """
        steps = [Step(step.number, self._divided(step, by)) for step in self.steps]
        return Runbook(self.dataset, self.most_points // by, tuple(steps))

    def _divided(self, step: Step, by: int) -> Operation:
        def divided(span: range) -> range:
            if span.start % by or span.stop % by:
                expected = f"numbers that {by} divides, for a smaller run"
                raise RunbookError(self.dataset, step.number, expected, _shown(span))
            return range(span.start // by, span.stop // by)

        match step.operation:
            case Insert(rows):
                return Insert(divided(rows))
            case Delete(tags):
                return Delete(divided(tags))
            case Replace(tags, rows):
                return Replace(divided(tags), divided(rows))
            case Search():
                return Search()


class Live:
    """Which items are live as the steps go by, and with which row's vector each.

    Args:
        rows: of the data set.
    """

    def __init__(self, rows: int) -> None:
        self._rows = np.full(rows, -1, np.int64)

    def __len__(self) -> int:
        return int((self._rows >= 0).sum())

    def tags(self) -> npt.NDArray[np.int64]:
        """The live items' numbers, in order."""
        return np.flatnonzero(self._rows >= 0)

    def rows(self) -> npt.NDArray[np.int64]:
        """Their rows, in the same order."""
        return self._rows[self.tags()]

    def are_live(self, tags: range) -> npt.NDArray[np.bool_]:
        """For each of some numbers whether its item is live."""
        known = self._rows[tags.start : tags.stop] >= 0
        return np.pad(known, (0, len(tags) - len(known)))

    def apply(self, operation: Operation) -> None:
        """Do one step."""
        match operation:
            case Insert(rows):
                self._rows[rows.start : rows.stop] = rows
            case Replace(tags, rows):
                self._rows[tags.start : tags.stop] = rows
            case Delete(tags):
                self._rows[tags.start : tags.stop] = -1
            case Search():
                pass


def read_runbook(path: Path) -> Runbook:
    """Read a file that holds the steps of one data set.

    Raises:
        RunbookError: it is no such file, or a step cannot be done; the message names the step.
        OSError: the file cannot be read.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunbookError(path.name, None, "YAML", str(error)) from error
    if not isinstance(content, dict) or len(content) != 1:
        raise RunbookError(path.name, None, "one data set with its steps", _shown(content))
    ((dataset, body),) = content.items()
    if not isinstance(dataset, str) or not isinstance(body, dict):
        raise RunbookError(path.name, None, "a data set's name over its steps", _shown(content))
    return _parsed(dataset, body)


class _Strict(yaml.SafeLoader):
    """Plain values alone, and no key twice: YAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def _parsed(dataset: str, body: dict[Any, Any]) -> Runbook:
    most: Any = body.get(MOST_POINTS)
    if not _is_count(most) or most < 1:
        raise RunbookError(dataset, None, f"{MOST_POINTS}, a positive number", _shown(most))
    numbers = [key for key in body if key not in {MOST_POINTS, TRUTH_URL}]
    for number in numbers:
        if not _is_count(number):
            raise RunbookError(dataset, None, f"steps by number, {MOST_POINTS}", _shown(number))
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise RunbookError(dataset, None, "steps numbered from 1 on without a gap", _shown(numbers))
    steps = tuple(
        Step(number, _operation(dataset, number, body[number])) for number in sorted(numbers)
    )
    if not any(isinstance(step.operation, Search) for step in steps):
        raise RunbookError(dataset, None, "a step that searches", f"{len(steps)} that do not")
    runbook = Runbook(dataset, most, steps)
    _check(runbook)
    return runbook


def _operation(dataset: str, number: int, body: Any) -> Operation:
    name = body.get("operation") if isinstance(body, dict) else None
    if not isinstance(name, str) or name not in FIELDS:
        raise RunbookError(dataset, number, "operation: " + ", ".join(FIELDS), _shown(body))
    fields = FIELDS[name]
    if set(body) != {"operation", *fields}:
        raise RunbookError(
            dataset, number, f"{name} with {', '.join(fields) or 'nothing else'}", _shown(body)
        )
    spans = []
    for first, last in zip(fields[::2], fields[1::2], strict=True):
        start, end = body[first], body[last]
        if not (_is_count(start) and _is_count(end) and start < end):
            received = f"{_shown(start)} and {_shown(end)}"
            raise RunbookError(dataset, number, f"numbers 0 <= {first} < {last}", received)
        spans.append(range(start, end))
    match name, spans:
        case "insert", [rows]:
            return Insert(rows)
        case "delete", [tags]:
            return Delete(tags)
        case "replace", [tags, rows]:
            if len(tags) != len(rows):
                received = f"{len(tags):,} and {len(rows):,}"
                raise RunbookError(dataset, number, "as many tags as ids", received)
            return Replace(tags, rows)
        case _:
            return Search()


def _check(runbook: Runbook) -> None:
    """Walk through the steps: each must find what it changes."""
    live = Live(runbook.rows)
    for step in runbook.steps:
        match step.operation:
            case Insert(tags):
                expected, found = "items that are not live", live.are_live(tags)
            case Delete(tags) | Replace(tags, _):
                expected, found = "live items", ~live.are_live(tags)
            case Search():
                expected, found = "something live", np.array([not len(live)])
        if found.any():
            received = f"{int(found.sum()):,} others"
            raise RunbookError(runbook.dataset, step.number, expected, received)
        live.apply(step.operation)
        if len(live) > runbook.most_points:
            expected = f"{MOST_POINTS}, {runbook.most_points:,} live items, at most"
            raise RunbookError(runbook.dataset, step.number, expected, f"{len(live):,}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
