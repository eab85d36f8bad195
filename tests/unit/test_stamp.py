"""Every commit is stamped: pages that a meta page was not written for are not taken for its own."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.pages import PAGE_BYTES, Pages
from streamlsh.storage.schema import DATA

DIM = 8
COMMITS = 14
METAS = 2 * PAGE_BYTES


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The file after each of some commits that change next to nothing.

    Such commits write the same few pages over and over, so that pages of two of them fit together.
    """
    path = tmp_path_factory.mktemp("stamp") / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=1, map_size=1 << 24)
    found = []
    with streamlsh.writer(path) as writer:
        writer.upsert(["a"], np.ones((1, DIM)))
        for commit in range(COMMITS):
            writer.commit([streamlsh.Position("topic", 0, commit)])
            found.append((path / DATA).read_bytes())
    return found


def put_together(folder: Path, metas: bytes, pages: bytes) -> Path:
    """An index of the meta pages of one file and the other pages of another."""
    path = folder / "index"
    path.mkdir(exist_ok=True)
    for file in path.glob("*.*"):
        file.unlink()
    (path / DATA).write_bytes(metas[:METAS] + pages[METAS:])
    return path


def offset_of(path: Path) -> int:
    """What a whole index says its position is."""
    with streamlsh.open(path) as reader:
        reader.verify()
        return reader.positions["topic", 0].offset


def test_a_file_put_together_of_two_commits_is_refused_or_is_one_of_them(
    states: list[bytes], tmp_path: Path
) -> None:
    """Meta pages without the pages that were written for them, as after writes that got lost; and
    meta pages taken back, as from an old copy."""
    errors = []
    for metas, pages in product(range(COMMITS), range(COMMITS)):
        path = put_together(tmp_path, states[metas], states[pages])
        try:
            assert offset_of(path) == metas, f"meta pages of commit {metas}, pages of {pages}"
        except CorruptIndexError as error:
            errors.append((metas != pages, str(error)))
    assert all(differ for differ, _ in errors)
    assert len(errors) > COMMITS**2 / 2
    assert sum("stamp" in error for _, error in errors) > COMMITS


def test_a_meta_page_that_says_another_transaction_is_refused(
    states: list[bytes], tmp_path: Path
) -> None:
    """Both meta pages go back by two transactions: nothing else of the file contradicts them."""
    content = bytearray(states[-1])
    for number in (0, 1):
        place = number * PAGE_BYTES + 144
        transaction = int.from_bytes(content[place : place + 8], "little")
        content[place : place + 8] = (transaction - 2).to_bytes(8, "little")
    path = put_together(tmp_path, bytes(content), states[-1])
    assert (
        Pages(path / DATA).meta(0).transaction
        == Pages(put_together(tmp_path, states[-1], states[-1]) / DATA).meta(0).transaction - 2
    )
    put_together(tmp_path, bytes(content), states[-1])
    with pytest.raises(CorruptIndexError, match="stamp"):
        streamlsh.open(path)


@pytest.mark.parametrize("meta_page", [0, 1])
@pytest.mark.parametrize("tree", [0, 1])
@pytest.mark.parametrize("bit", range(7))
def test_a_meta_page_with_other_flags_of_a_tree_is_refused(
    meta_page: int, tree: int, bit: int, tmp_path: Path
) -> None:
    """LMDB follows them, and aborts where a tree is not of the kind that they say."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=4, family="hyperplane", bits=4, tables=2)
    data = path / "data.mdb"
    content = bytearray(data.read_bytes())
    content[4096 * meta_page + 44 + 48 * tree] ^= 1 << bit
    data.write_bytes(content)
    with pytest.raises(CorruptIndexError, match="flags of the"):
        streamlsh.open(path)
