"""Per item the newest wins: by version where there is one, else in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import CommitResult, Delete, Upsert, Upserts
from streamlsh.config import MIN_VERSION
from streamlsh.errors import InvalidInputError

ONE, TWO, THREE = np.eye(3, dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=3)
    return tmp_path / "index"


@pytest.fixture
def writer(path: Path) -> Iterator[streamlsh.Writer]:
    with streamlsh.writer(path) as writer:
        yield writer


@pytest.fixture
def reader(path: Path) -> Iterator[streamlsh.Reader]:
    with streamlsh.open(path) as reader:
        yield reader


def commit(writer: streamlsh.Writer, *updates: Upsert | Delete) -> dict[str, int]:
    """What a commit of these updates did, without what did not happen."""
    writer.stage(updates)
    result = writer.commit()
    names = [name for name in CommitResult.__slots__ if name != "commit"]
    return {name: getattr(result, name) for name in names if getattr(result, name)}


def held(reader: streamlsh.Reader, item_id: str) -> tuple[int, int | None] | None:
    """Which coordinate is set, and the version; ``None`` if there is no such item."""
    item = reader.get(item_id)
    return None if item is None else (int(item.vector.argmax()), item.version)


def test_a_higher_version_replaces_and_equal_or_lower_ones_are_stale(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    assert commit(writer, Upsert("a", ONE, 5)) == {"inserted": 1}
    assert commit(writer, Upsert("a", TWO, 6)) == {"replaced": 1}
    assert commit(writer, Upsert("a", THREE, 6), Upsert("a", THREE, -1)) == {"stale": 2}
    assert held(reader, "a") == (1, 6)


def test_a_version_beats_no_version_and_no_version_keeps_the_version(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    assert commit(writer, Upsert("a", ONE)) == {"inserted": 1}
    assert commit(writer, Upsert("a", TWO, MIN_VERSION)) == {"replaced": 1}
    assert commit(writer, Upsert("a", THREE)) == {"replaced": 1}
    assert held(reader, "a") == (2, MIN_VERSION)


def test_a_late_upsert_after_a_versioned_delete_is_stale_and_a_newer_one_inserts(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Upsert("a", ONE, 5))
    assert commit(writer, Delete("a", 7)) == {"deleted": 1}
    assert commit(writer, Upsert("a", TWO, 6), Delete("a", 7)) == {"stale": 2}
    assert held(reader, "a") is None
    assert commit(writer, Upsert("a", TWO, 8)) == {"inserted": 1}
    assert held(reader, "a") == (1, 8)


def test_a_delete_without_version_keeps_the_version_against_late_upserts(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Upsert("a", ONE, 5))
    assert commit(writer, Delete("a")) == {"deleted": 1}
    assert commit(writer, Upsert("a", TWO, 5)) == {"stale": 1}
    assert commit(writer, Upsert("a", TWO)) == {"inserted": 1}
    assert held(reader, "a") == (1, 5)


def test_a_delete_of_an_unknown_id_is_absent_and_its_version_still_counts(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    assert commit(writer, Delete("a")) == {"absent": 1}
    assert commit(writer, Delete("a", 4)) == {"absent": 1}
    assert commit(writer, Upsert("a", ONE, 3)) == {"stale": 1}
    assert held(reader, "a") is None


def test_within_a_batch_the_same_rule_holds_as_between_batches(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    assert commit(
        writer, Upsert("a", ONE), Upsert("a", TWO), Delete("a"), Upsert("a", THREE),
        Upsert("b", ONE, 9), Upsert("b", TWO, 8), Delete("b", 3), Upsert("c", ONE), Delete("c"),
    ) == {"inserted": 4, "replaced": 1, "deleted": 2, "stale": 2}  # fmt: skip
    assert held(reader, "a") == (2, None)
    assert held(reader, "b") == (0, 9)
    assert held(reader, "c") is None
    assert len(reader) == 2


def test_an_upsert_that_says_what_is_there_is_unchanged_and_writes_no_row(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    item = Upsert("a", ONE, None, ("x", "y"), {"price": 1, "name": "n"})
    same = Upsert("a", ONE.copy(), None, ("y", "x", "y"), {"name": "n", "price": 1})
    commit(writer, item)
    rows = reader.info()["rows"]["free"]
    assert commit(writer, same) == {"unchanged": 1}
    assert reader.info()["rows"]["free"] == rows


@pytest.mark.parametrize(
    "changed",
    [
        Upsert("a", ONE, 2, ("x",), {"price": 1}),
        Upsert("a", ONE, None, ("z",), {"price": 1}),
        Upsert("a", ONE, None, ("x",), {"price": 2}),
        Upsert("a", ONE, None, ("x",), {}),
        Upsert("a", ONE, None, ("x",), None),
        Upsert("a", ONE, None, (), {"price": 1}),
    ],
)
def test_a_change_beside_the_vector_is_stored_without_a_new_row(
    writer: streamlsh.Writer, reader: streamlsh.Reader, changed: Upsert
) -> None:
    commit(writer, Upsert("a", ONE, 1, ("x",), {"price": 1}))
    rows = reader.info()["rows"]["free"]
    assert commit(writer, changed) == {"replaced": 1}
    item = reader.get("a")
    assert item is not None
    assert (item.tags, item.attributes) == (tuple(changed.tags), changed.attributes)
    assert item.version == (changed.version or 1)
    assert reader.info()["rows"]["free"] == rows
    reader.verify()


def test_a_vector_that_comes_back_within_a_batch_writes_no_row(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    commit(writer, Upsert("a", ONE))
    rows = reader.info()["rows"]["free"]
    assert commit(writer, Upsert("a", TWO), Delete("a"), Upsert("a", ONE)) == {
        "replaced": 1, "deleted": 1, "inserted": 1,
    }  # fmt: skip
    assert reader.info()["rows"]["free"] == rows
    assert held(reader, "a") == (0, None)


@pytest.mark.parametrize("epoch", [None, 0, 2**31 - 1])
def test_an_empty_commit_changes_nothing_and_a_moved_position_is_a_commit(
    writer: streamlsh.Writer, reader: streamlsh.Reader, epoch: int | None
) -> None:
    commit(writer, Upsert("a", ONE))
    assert writer.commit() == CommitResult(1)
    move = streamlsh.Position("topic", 3, 17, "uuid", epoch)
    assert writer.commit([move]) == CommitResult(2)
    assert writer.commit([move]) == CommitResult(2)
    assert reader.commit == 2
    assert dict(reader.positions) == {("topic", 3): move} == dict(writer.positions)
    assert reader.info()["positions"] == [
        {"stream": "topic", "partition": 3, "offset": 17, "identity": "uuid", "epoch": epoch}
    ]


def test_what_another_thread_prepared_counts_from_when_it_is_staged(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(writer.prepare, [Upsert("a", ONE), Upsert("b", ONE)]).result()
        second = pool.submit(writer.prepare, [Delete("a"), Upsert("c", TWO)]).result()
    assert (len(first), len(second), writer.staged) == (2, 2, 0)
    assert writer.commit() == CommitResult(0)
    writer.stage(second)
    writer.stage([Upsert("b", TWO)])
    writer.stage(first)
    assert writer.staged == 5
    assert writer.commit() == CommitResult(1, inserted=3, replaced=1, absent=1)
    assert [held(reader, name) for name in "abc"] == [(0, None), (0, None), (1, None)]


def test_many_upserts_in_one_are_the_same_as_one_by_one(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    writer.stage(
        [
            Upsert("a", ONE, None, ("x",)),
            Upserts(["a", "b", "c"], np.array([TWO, ONE, ONE])),
            Delete("b"),
            Upserts(["c", "d", "c"], np.array([TWO, ONE, THREE]), [7, None, 6]),
            Upsert("e", TWO),
        ]
    )
    assert writer.commit() == CommitResult(1, inserted=5, replaced=2, deleted=1, stale=1)
    expected = [(1, None), None, (1, 7), (0, None), (1, None)]
    assert [held(reader, name) for name in "abcde"] == expected
    item = reader.get("a")
    assert item is not None
    assert item.tags == ()
    reader.verify()


@pytest.mark.parametrize(
    ("run", "row"),
    [
        (Upserts(["a", ""], np.array([ONE, TWO])), 2),
        (Upserts(["a", "b"], np.array([ONE, TWO * np.nan])), 2),
        (Upserts(["a", "b"], np.array([ONE, TWO * 0])), 2),
        (Upserts(["a", "b"], np.array([ONE, TWO]), [1, 2**63]), 2),
        (Upserts(["a", "b"], np.array([ONE, TWO]), [1]), 1),
        (Upserts(["a"], np.array([ONE, TWO])), 1),
        (Upserts(["a", "b"], np.array([ONE[:2], TWO[:2]])), 1),
        (Upserts(["a"], np.array([["1", "2", "3"]])), 1),
        (Upserts(["a", "b"], [ONE, TWO[:2]]), 1),  # type: ignore[arg-type]
        (Upserts("ab", np.array([ONE, TWO])), 1),
    ],
)
def test_something_wrong_in_many_upserts_is_refused_with_its_place(
    writer: streamlsh.Writer, run: Upserts, row: int
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        writer.stage([Delete("z"), run])
    assert caught.value.row == row
    assert writer.staged == 0


def test_what_was_staged_is_committed_when_the_block_ends_well_and_dropped_when_not(
    path: Path,
) -> None:
    with streamlsh.writer(path) as writer:
        writer.upsert(["kept"], [ONE])
    with pytest.raises(KeyError), streamlsh.writer(path) as writer:  # noqa: PT012
        writer.upsert(["dropped"], [TWO])
        raise KeyError
    with streamlsh.open(path) as reader:
        assert [item.id for item in reader.items()] == ["kept"]


def test_the_caller_may_change_its_array_after_staging(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    rows = np.array([ONE, TWO])
    writer.upsert(["a"], rows[:1])
    writer.upsert(["b"], rows[1:])
    writer.stage([Upsert("c", rows[0])])
    writer.stage([Upserts(["d"], rows[1:])])
    rows[:] = THREE
    writer.commit()
    expected = [(0, None), (1, None), (0, None), (1, None)]
    assert [held(reader, name) for name in "abcd"] == expected
