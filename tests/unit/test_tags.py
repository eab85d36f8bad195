"""Postings of tags follow the items through updates, deletes and the emptying of blocks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh.config import MAX_TAG_BYTES, MAX_TAGS
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import LIVE_PAGE_SLOTS
from streamlsh.storage.tags import build_postings
from streamlsh.updates import pack_extras, unpack_tags
from tests.filtered import carriers, passing
from tests.tampering import keys, tampering

DIM = 4
ROWS = np.random.default_rng(0).standard_normal((64, DIM)).astype(np.float32)
FILTERS: list[Any] = [
    [], ["a"], ["b"], ["none"], ["a", "b"], [["a", "b"]], [("a", "none"), "b"], ["a", "none"],
    ["é", {"b", "c"}], [["c"], ["c", "a"]],
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=2)
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[streamlsh.Writer]:
    with streamlsh.writer(path) as writer:
        yield writer


@pytest.fixture
def reader(path: Path) -> Iterator[streamlsh.Reader]:
    with streamlsh.open(path) as reader:
        yield reader


def item(name: str, row: int, letters: str = "") -> Upsert:
    """An item with a tag of each letter."""
    return Upsert(name, ROWS[row], tags=list(letters))


def apply(writer: streamlsh.Writer, *updates: Upsert | Delete) -> None:
    writer.stage(updates)
    writer.commit()


def check(source: streamlsh.Reader | streamlsh.Snapshot) -> None:
    items = list(source.items())
    for tags in FILTERS:
        assert passing(source, tags) == carriers(items, tags), tags
    source.verify()


def containers(reader: streamlsh.Reader) -> int:
    index = reader._index
    with index.environment.read() as transaction:
        return int(transaction.stat(index.environment.database("tags"))["entries"])


def test_an_item_passes_if_it_has_a_tag_of_each_element(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    check(reader)
    subsets = ["".join(t for t, on in zip("abcé", bits, strict=True) if on)
               for bits in product([0, 1], repeat=4)]  # fmt: skip
    apply(writer, *(item(f"i{row}", row, tags) for row, tags in enumerate(subsets)))
    check(reader)
    assert passing(reader, ["a", ("b", "c")]) == sorted(
        f"i{row}"
        for row, tags in enumerate(subsets)
        if "a" in tags and ("b" in tags or "c" in tags)
    )


def test_tags_follow_their_item_whatever_becomes_of_it(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    apply(writer, item("x", 0, "ab"), item("y", 1, "b"), item("z", 2))
    assert passing(reader, ["b"]) == ["x", "y"]
    apply(writer, item("x", 0, "bc"))  # its vector stays, and so its slot
    assert (passing(reader, ["a"]), passing(reader, ["c", "b"])) == ([], ["x"])
    apply(writer, item("y", 5, "c"))  # another vector
    assert (passing(reader, ["b"]), passing(reader, ["c"])) == (["x"], ["x", "y"])
    apply(writer, item("x", 0))
    assert (passing(reader, ["b"]), passing(reader, ["c"])) == ([], ["y"])
    apply(writer, Delete("y"), item("z", 2, "a"))
    assert (passing(reader, ["c"]), passing(reader, ["a"])) == ([], ["z"])
    apply(writer, item("y", 5, "b"))
    assert passing(reader, [["a", "b", "c"]]) == ["y", "z"]
    check(reader)


def test_within_one_commit_only_the_last_tags_of_an_item_count(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    apply(writer, item("x", 0, "a"), item("y", 1, "a"))
    apply(
        writer, item("x", 3, "b"), item("x", 0, "c"), item("y", 2, "b"), Delete("y"),
        item("z", 4, "a"), item("z", 5, "b"),
    )  # fmt: skip
    check(reader)
    assert (passing(reader, ["a"]), passing(reader, ["b"])) == ([], ["z"])
    assert passing(reader, ["c"]) == ["x"]


def test_stale_updates_leave_tags_alone(writer: streamlsh.Writer, reader: streamlsh.Reader) -> None:
    apply(writer, Upsert("x", ROWS[0], 5, ["a"]))
    apply(writer, Upsert("x", ROWS[1], 4, ["b"]), Upsert("x", ROWS[0], 5, ["b"]))
    assert (passing(reader, ["a"]), passing(reader, ["b"])) == (["x"], [])


def test_a_snapshot_keeps_its_tags(writer: streamlsh.Writer, reader: streamlsh.Reader) -> None:
    apply(writer, item("x", 0, "a"), item("y", 1, "a"), item("z", 2, "b"))
    with reader.snapshot() as before:
        apply(writer, item("x", 0, "b"), Delete("y"), item("new", 3, "a"))
        assert passing(before, ["a"]) == ["x", "y"]
        assert passing(before, ["b"]) == ["z"]
        assert passing(reader, ["a"]) == ["new"]
        assert passing(reader, ["b"]) == ["x", "z"]
        check(before)


def test_tags_of_every_length_are_told_apart(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    names = ["a", "aa", "a\u00e9", "x" * MAX_TAG_BYTES, "x" * (MAX_TAG_BYTES - 1), "é" * 64]
    apply(writer, *(Upsert(f"i{row}", ROWS[row], tags=[name]) for row, name in enumerate(names)))
    for row, name in enumerate(names):
        assert passing(reader, [name]) == [f"i{row}"]
    most = [str(number) for number in range(MAX_TAGS)]
    apply(writer, Upsert("most", ROWS[9], tags=most))
    assert passing(reader, most) == ["most"]


def test_the_bitmap_spans_pages_in_every_density(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    count = 2 * LIVE_PAGE_SLOTS + 500
    rng = np.random.default_rng(1)
    shares = {"a": 0.5, "b": 0.05, "c": 0.0005, "é": 1.0}
    tags = [[tag for tag, share in shares.items() if rng.random() < share] for _ in range(count)]
    rows = rng.standard_normal((count, DIM))
    names = [f"i{row}" for row in range(count)]
    for start in range(0, count, 10_000):
        part = slice(start, start + 10_000)
        writer.upsert(names[part], rows[part], tags=tags[part])
        writer.commit()
    writer.delete(names[:LIVE_PAGE_SLOTS])
    writer.upsert(names[-700:], rows[-700:], tags=[["a"]] * 700)
    writer.commit()
    check(reader)


@pytest.mark.usefixtures("small_parts")
def test_postings_go_with_the_blocks_of_their_slots(path: Path) -> None:
    """New tags with every update: those of dead items may not pile up."""
    rng = np.random.default_rng(0)
    held = []
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        for turn in range(40):
            chosen = rng.permutation(120)[:60] if turn else range(120)
            apply(
                writer,
                *(
                    Upsert(f"i{name}", ROWS[(name + turn) % 64], None, [f"t{turn}-{name}", "all"])
                    for name in chosen
                ),
            )
            rows = reader.info()["rows"]["slots"]
            assert containers(reader) <= rows + 1
            held.append(rows)
        assert max(held[5:]) <= 120 / 0.75 + 60 + 2 * 32
        reader.verify()
        assert len(passing(reader, ["all"])) == 120
        for _ in range(4):
            apply(writer, *(Delete(f"i{name}") for name in range(120)))
        assert passing(reader, ["all"]) == []
        assert containers(reader) <= 32 + 1
        reader.verify()


@pytest.mark.usefixtures("small_parts")
def test_items_whose_slots_are_given_again_keep_their_last_tags(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    apply(writer, *(item(f"i{row}", row, "a") for row in range(64)))
    for turn in range(12):
        gone = [Delete(f"i{row}") for row in range(turn * 4, turn * 4 + 4)]
        kept = [item(f"i{row}", row, "ab"[turn % 2 :]) for row in range(50, 64, 2)]
        apply(writer, *gone, *kept)
        check(reader)
    assert reader.info()["rows"]["slots"] < 64 + 12 * 11, "slots were given again"


def test_nothing_is_stored_for_items_without_tags(
    writer: streamlsh.Writer, reader: streamlsh.Reader
) -> None:
    apply(writer, item("x", 0), Upsert("y", ROWS[1], attributes={"tags": ["a"]}))
    apply(writer, item("x", 2), Delete("y"))
    assert containers(reader) == 0
    check(reader)


def test_postings_can_be_built_from_the_records(path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    count = LIVE_PAGE_SLOTS + 3_000
    tags = [list({"abcé"[i] for i in rng.integers(4, size=rng.integers(4))}) for _ in range(count)]
    names = [f"i{row}" for row in range(count)]
    with streamlsh.writer(path) as writer:
        writer.upsert(names, rng.standard_normal((count, DIM)), tags=tags)
        writer.commit()
        writer.upsert(
            names[::7], rng.standard_normal((len(names[::7]), DIM)), tags=tags[: len(names[::7])]
        )
        writer.commit()
    bare = tmp_path / "bare"
    shutil.copytree(path, bare)
    stored = contents(path)
    with tampering(bare, "tags") as transaction:
        for key in stored:
            transaction.delete(key)
    with streamlsh.open(bare) as reader:
        environment = reader._index.environment
        assert passing(reader, ["a"]) == []
        with environment.write() as transaction, environment.read() as snapshot:
            build_postings(environment, transaction, snapshot)
        check(reader)
    assert contents(bare) == stored


def contents(path: Path) -> dict[bytes, bytes]:
    names = keys(path, "tags")
    with tampering(path, "tags") as transaction:
        return {key: bytes(transaction.get(key) or b"") for key in names}


@pytest.mark.parametrize("attributes", [None, {}, {"long": list(range(3_000))}])
@pytest.mark.parametrize("tags", [[], ["é"], [f"tag {n}" for n in range(MAX_TAGS)]])
def test_tags_are_read_without_their_attributes(tags: list[str], attributes: Any) -> None:
    packed = pack_extras(tags, attributes)
    assert unpack_tags(packed) == [tag.encode() for tag in sorted(tags)]


@pytest.mark.parametrize("packed", [b"\x92\x91\xa3ab", b"\x05", b"\x92", b"\xc1"])
def test_what_are_no_tags_is_an_error(packed: bytes) -> None:
    with pytest.raises(CorruptIndexError, match="tags and attributes"):
        unpack_tags(packed)
