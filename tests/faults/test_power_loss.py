"""Power is lost during a commit: the last or the one before last stands whole.

LMDB writes a commit's pages, syncs, then writes its meta page. Until the sync has returned, any
of the pages may have reached the disk or not, or only some of a page's sectors; the meta page
comes after all of them. So what a loss of power can leave behind is made from the files before
and after a commit, by sectors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.pages import PAGE_BYTES
from streamlsh.storage.schema import DATA

DIM = 8
SECTOR = 512
METAS = 2
Change = Callable[[streamlsh.Writer], None]

pytestmark = pytest.mark.usefixtures("small_parts")


def rows_of(seed: int, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def insert(writer: streamlsh.Writer) -> None:
    writer.upsert([f"new-{row}" for row in range(60)], rows_of(1, 60))


def replace(writer: streamlsh.Writer) -> None:
    writer.upsert([f"i{row}" for row in range(0, 200, 3)], rows_of(2, 67))


def delete(writer: streamlsh.Writer) -> None:
    writer.delete([f"i{row}" for row in range(0, 200, 2)], versions=[9] * 100)


def move(_: streamlsh.Writer) -> None:
    """Only the position moves."""


CHANGES = (insert, replace, delete, move)


@dataclass(frozen=True)
class Commit:
    """The file before a commit and after it, and the digests that belong to them."""

    before: bytes
    after: bytes
    digests: tuple[str, str]
    positions: tuple[int, int]

    def changed(self) -> list[int]:
        """Pages, but for the meta pages, that the commit wrote."""
        count = len(self.after) // PAGE_BYTES
        return [page for page in range(METAS, count) if self.page(page) != self.old_page(page)]

    def page(self, number: int) -> bytes:
        return self.after[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]

    def old_page(self, number: int) -> bytes:
        """As before; where the file was not yet that long, zeros."""
        old = self.before[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
        return old.ljust(PAGE_BYTES, b"\0")


@pytest.fixture(params=CHANGES, ids=lambda change: change.__name__)
def commits(request: pytest.FixtureRequest, tmp_path: Path) -> list[Commit]:
    """Two commits of one kind, so that each of the two meta pages is the one to be written."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=2, map_size=64 << 20)
    found = []
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        for start in range(0, 200, 40):
            writer.upsert([f"i{row}" for row in range(start, start + 40)], rows_of(start, 40))
            writer.commit([streamlsh.Position("t", 0, 0)])
        for number in range(1, 3):
            before, digest = (path / DATA).read_bytes(), reader.digest()
            request.param(writer)
            if number == 2:
                writer.upsert(["last"], rows_of(3, 1))
            writer.commit([streamlsh.Position("t", 0, number)])
            digests = digest, reader.digest()
            after = (path / DATA).read_bytes()
            found.append(Commit(before, after, digests, (number - 1, number)))
    return found


def test_lmdb_syncs_every_commit_and_its_meta_page(tmp_path: Path) -> None:
    """All that follows rests on the order in which LMDB writes, and these settings keep it."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=2)
    with streamlsh.writer(path) as writer:
        flags = dict(writer._index.environment.handle.flags())
    kept = {"sync": True, "metasync": True, "map_async": False, "writemap": False}
    assert {name: flags[name] for name in kept} == kept


@contextmanager
def found_after(tmp_path: Path, content: bytearray) -> Iterator[streamlsh.Reader]:
    """What is found when the power is back: the file, without LMDB's lock file."""
    path = tmp_path / f"left-{random.random()}"
    path.mkdir()
    (path / DATA).write_bytes(content)
    with streamlsh.open(path) as reader:
        yield reader


def check_whole(tmp_path: Path, content: bytearray, digest: str, position: int) -> None:
    with found_after(tmp_path, content) as reader:
        assert reader.digest() == digest
        assert reader.positions["t", 0].offset == position
        reader.verify()
        path = reader._index.environment.path
    with streamlsh.writer(path) as writer:
        writer.upsert(["after"], rows_of(4, 1))
    with streamlsh.open(path) as reader:
        assert "after" in reader
        reader.verify()


def written(commit: Commit, choice: random.Random, share: float) -> bytearray:
    """The file with some sectors of some of the commit's pages on the disk, no meta page."""
    longest = max(len(commit.before), METAS * PAGE_BYTES)
    content = bytearray(commit.before)
    for page in commit.changed():
        if choice.random() >= share:
            continue
        start = page * PAGE_BYTES
        content.extend(bytes(max(0, start + PAGE_BYTES - len(content))))
        torn = choice.random() < 0.3
        for place in range(0, PAGE_BYTES, SECTOR):
            if not torn or choice.random() < 0.5:
                content[start + place : start + place + SECTOR] = commit.page(page)[
                    place : place + SECTOR
                ]
    assert len(content) >= longest
    return content


def new_meta(commit: Commit) -> int:
    """Which meta page the commit wrote."""
    changed = [page for page in range(METAS) if commit.page(page) != commit.old_page(page)]
    assert len(changed) == 1
    return changed[0]


def test_before_the_sync_any_part_of_the_pages_leaves_the_commit_before(
    commits: list[Commit], tmp_path: Path
) -> None:
    for commit in commits:
        assert len(commit.changed()) > 2
        for seed, share in enumerate((0.0, 0.2, 0.5, 0.8, 1.0)):
            content = written(commit, random.Random(seed), share)
            check_whole(tmp_path, content, commit.digests[0], commit.positions[0])


def test_after_the_sync_each_sector_of_the_meta_page_leaves_one_of_the_two_commits(
    commits: list[Commit], tmp_path: Path
) -> None:
    """Either half of the page, the first sector alone, or all of the others."""
    assert {new_meta(commit) for commit in commits} == {0, 1}
    halves = (range(4), range(4, 8), range(1), range(1, 8), range(8))
    for commit in commits:
        meta = new_meta(commit)
        for sectors in halves:
            content = bytearray(commit.after)
            content[: METAS * PAGE_BYTES] = commit.before[: METAS * PAGE_BYTES]
            for sector in sectors:
                start = meta * PAGE_BYTES + sector * SECTOR
                content[start : start + SECTOR] = commit.after[start : start + SECTOR]
            which = int(0 in sectors)  # what LMDB reads of the page is in the first sector
            check_whole(tmp_path, content, commit.digests[which], commit.positions[which])


def test_a_meta_page_that_overtook_the_pages_it_names_is_refused(
    commits: list[Commit], tmp_path: Path
) -> None:
    """As a disk leaves it that says that it has synced and has not."""
    for commit in commits:
        meta = new_meta(commit)
        content = bytearray(written(commit, random.Random(0), 0.0))
        content.extend(bytes(len(commit.after) - len(content)))
        content[meta * PAGE_BYTES : (meta + 1) * PAGE_BYTES] = commit.page(meta)
        with (
            pytest.raises(CorruptIndexError, match="damaged"),
            found_after(tmp_path, content),
        ):
            pass


def test_a_commit_that_lacks_one_of_its_pages_is_refused_found_or_whole(
    commits: list[Commit], tmp_path: Path
) -> None:
    commit = commits[0]
    refused = 0
    for page in commit.changed():
        content = bytearray(commit.after)
        content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = commit.old_page(page)
        try:
            with found_after(tmp_path, content) as reader:
                reader.verify()
                assert reader.digest() == commit.digests[1]
        except CorruptIndexError:
            refused += 1
    assert refused > len(commit.changed()) / 2
