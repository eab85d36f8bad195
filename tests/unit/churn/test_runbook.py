"""A runbook is read as it is written, or refused with the step that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.churn import runbook
from tests.churn.runbook import Delete, Insert, Live, Replace, RunbookError, Search, read_runbook

INSERT = "1: {operation: insert, start: 0, end: 10}"
SEARCH = "{operation: search}"


def _file(tmp_path: Path, *lines: str, most: str = "10") -> Path:
    path = tmp_path / "steps.yaml"
    body = "".join(f"  {line}\n" for line in (f"max_pts: {most}", *lines))
    path.write_text(f"glosses:\n{body}", encoding="utf-8")
    return path


def test_every_operation_is_read_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    read = read_runbook(
        _file(
            tmp_path,
            "gt_url: http://example.org/truth",
            f"4: {SEARCH}",
            "2: {operation: replace, tags_start: 4, tags_end: 6, ids_start: 20, ids_end: 22}",
            INSERT,
            "3: {operation: delete, start: 5, end: 10}",
        )
    )
    assert (read.dataset, read.most_points, read.rows) == ("glosses", 10, 22)
    assert [step.number for step in read.steps] == [1, 2, 3, 4]
    assert [step.operation for step in read.steps] == [
        Insert(range(10)), Replace(range(4, 6), range(20, 22)), Delete(range(5, 10)), Search(),
    ]  # fmt: skip
    live = Live(read.rows)
    for step in read.steps:
        live.apply(step.operation)
    assert live.tags().tolist() == [0, 1, 2, 3, 4]
    assert live.rows().tolist() == [0, 1, 2, 3, 20]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{operation: upsert, start: 0, end: 5}", "operation: insert, delete"),
        ("{start: 0, end: 5}", "operation: insert, delete"),
        ("5", "operation: insert, delete"),
        ("{operation: [delete], start: 0, end: 5}", "operation: insert, delete"),
        ("{operation: delete, start: 0}", "delete with start, end"),
        ("{operation: delete, start: 0, end: 5, step: 2}", "delete with start, end"),
        ("{operation: search, start: 0}", "search with nothing else"),
        ("{operation: delete, start: 5, end: 5}", "numbers 0 <= start < end"),
        ("{operation: delete, start: -1, end: 5}", "numbers 0 <= start < end"),
        ("{operation: delete, start: 0.0, end: 5}", "numbers 0 <= start < end"),
        ("{operation: delete, start: false, end: 5}", "numbers 0 <= start < end"),
        ("{operation: replace, tags_start: 0, tags_end: 2, ids_start: 0, ids_end: 3}",
         "as many tags as ids"),
        ("{operation: insert, start: 9, end: 11}", "items that are not live"),
        ("{operation: delete, start: 5, end: 15}", "live items"),
        ("{operation: replace, tags_start: 8, tags_end: 12, ids_start: 0, ids_end: 4}",
         "live items"),
        ("{operation: insert, start: 10, end: 12}", "max_pts, 10 live items"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_done_is_named(tmp_path: Path, line: str, expected: str) -> None:
    path = _file(tmp_path, INSERT, f"2: {line}", f"3: {SEARCH}")
    with pytest.raises(RunbookError, match="glosses, step 2: expected") as caught:
        read_runbook(path)
    assert caught.value.step == 2
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("glosses: [1", "YAML"),
        ("glosses: {max_pts: 1, max_pts: 2}", "YAML"),
        ("!!python/object:os.system {}", "YAML"),
        ("- 1", "one data set"),
        ("a: {max_pts: 1}\nb: {max_pts: 1}", "one data set"),
        ("glosses: 5", "a data set's name"),
        ("glosses: {1: {operation: search}}", "max_pts, a positive number"),
        ("glosses: {max_pts: 0, 1: {operation: search}}", "max_pts, a positive number"),
        ("glosses: {max_pts: 9, first: {operation: search}}", "steps by number"),
        ("glosses: {max_pts: 9, 2: {operation: search}}", "steps numbered from 1"),
        ("glosses: {max_pts: 9, 1: {operation: insert, start: 0, end: 5}}", "a step that searches"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "steps.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunbookError) as caught:
        read_runbook(path)
    assert caught.value.step is None
    assert caught.value.expected.startswith(expected)


def test_searching_nothing_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, INSERT, "2: {operation: delete, start: 0, end: 10}", f"3: {SEARCH}")
    with pytest.raises(RunbookError, match="step 3: expected something live"):
        read_runbook(path)


def test_the_shipped_runbooks_can_be_run_and_change_what_they_hold() -> None:
    files = sorted((Path(runbook.__file__).parent / "runbooks").glob("*.yaml"))
    kinds = set()
    for file in files:
        read = read_runbook(file)
        searches = sum(isinstance(step.operation, Search) for step in read.steps)
        assert 3 <= searches <= 8
        live = Live(read.rows)
        for step in read.steps:
            live.apply(step.operation)
            kinds.add(type(step.operation))
            assert len(np.unique(live.rows())) == len(live)
    assert len(files) == 3
    assert kinds == {Insert, Delete, Replace, Search}


def test_a_smaller_run_has_the_same_steps_of_smaller_numbers(tmp_path: Path) -> None:
    read = read_runbook(_file(tmp_path, INSERT, f"2: {SEARCH}"))
    small = read.shrunk(5)
    assert (small.most_points, small.steps[0].operation) == (2, Insert(range(2)))
    with pytest.raises(RunbookError, match="step 1: expected numbers that 3 divides"):
        read.shrunk(3)
