"""What kernels read by its address is there and long enough, or an error says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.buckets.merging import PIECES
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import IN_PLACE, PAD, number_key
from tests.tampering import flip, keys, tampering

DIM = 16
ROWS = np.random.default_rng(0).standard_normal((306, DIM)).astype(np.float32)
FAR = 1 << 24

pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of full blocks, an open block in strips alone, a segment and a tail."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=2)
    with streamlsh.writer(path) as writer:
        writer.upsert([f"i{row}" for row in range(300)], ROWS[:300])
        writer.commit()
        writer.upsert([f"i{row}" for row in range(300, 306)], ROWS[300:306])
        writer.commit()
    for database in ("blocks", "strips", "names", "name_strips", "tail", "segments"):
        assert keys(path, database), f"{database} is empty"
    return path


def refused(path: Path) -> None:
    """Queries and commits must end in errors; those that follow addresses would end the process."""
    with streamlsh.open(path) as reader:
        for call in (
            lambda: reader.search(ROWS[:2], 400, probes=16),
            lambda: reader.exact(ROWS[0], 400),
            reader.verify,
        ):
            with pytest.raises(CorruptIndexError):
                call()


@pytest.mark.parametrize("database", ["blocks", "strips", "names", "name_strips", "tail"])
def test_a_value_that_went_to_another_key_is_missed(database: str, path: Path) -> None:
    """As a bit flipped in a key would do: there are as many values as before."""
    last = keys(path, database)[-1]
    with tampering(path, database) as transaction:
        value = transaction.pop(last)
        assert value is not None
        transaction.put(number_key(FAR), value)
    refused(path)


@pytest.mark.parametrize(
    "database", ["blocks", "strips", "names", "name_strips", "live", "tail", "segments"]
)
def test_a_value_that_is_too_short_is_refused(database: str, path: Path) -> None:
    found = 0
    for key in keys(path, database):
        with tampering(path, database) as transaction:
            value = transaction.get(key) or b""
            short = IN_PLACE - 1 if len(value) == IN_PLACE else len(value) - 4
            transaction.put(key, value[:short])
        refused(path)
        with tampering(path, database) as transaction:
            transaction.put(key, value)
        found += 1
    assert found
    with streamlsh.open(path) as reader:
        reader.verify()


def test_a_segment_whose_directory_is_damaged_is_not_merged(path: Path) -> None:
    with tampering(path, "segments") as transaction, transaction.cursor() as cursor:
        assert cursor.first()
        value = bytearray(cursor.value())
        value[100:104] = b"\xff\xff\xff\x7f"
        cursor.put(cursor.key(), bytes(value))
    with pytest.raises(CorruptIndexError, match="directory"):
        streamlsh.writer(path)


@pytest.mark.parametrize("left", [0, 4, 16, IN_PLACE - 4])
def test_a_segment_whose_directory_was_cut_short_is_not_opened_for_writing(
    path: Path, left: int
) -> None:
    with tampering(path, "segments") as transaction:
        cursor = transaction.cursor()
        cursor.first()
        cursor.put(cursor.key(), bytes(cursor.value()[:left]))
    with pytest.raises(CorruptIndexError, match="cut short"):
        streamlsh.writer(path)
    refused(path)


def test_what_a_merge_under_way_has_written_of_its_directory_is_not_believed_when_damaged(
    path: Path,
) -> None:
    """Once the merge was done, a commit followed it and ended the process."""
    rows = np.random.default_rng(1).standard_normal((2000, DIM)).astype(np.float32)
    pieces: list[bytes] = []
    # Merges begin with large commits and go on slowly with small ones.
    for first, count in [
        (0, 400),
        (400, 400),
        (800, 400),
        *((row, 1) for row in range(1200, 1250)),
    ]:
        with streamlsh.writer(path) as writer:
            part = slice(first, first + count)
            writer.upsert([f"n{row}" for row in range(first, first + count)], rows[part])
        pieces = [k for k in keys(path, "segments") if int.from_bytes(k[-4:], "big") >= PIECES]
        if pieces:
            break
    assert pieces, "no merge is under way"
    chunk = pieces[0][:-4] + (1).to_bytes(4, "big")
    with streamlsh.open(path) as reader:
        reader.verify()
    flip(path, "segments", chunk, PAD)
    with streamlsh.open(path) as reader, pytest.raises(CorruptIndexError, match="is written"):
        reader.verify()
    flip(path, "segments", chunk, PAD)
    flip(path, "segments", pieces[0], 1)
    with pytest.raises(CorruptIndexError, match="unfinished"):
        streamlsh.writer(path)
    with streamlsh.open(path) as reader, pytest.raises(CorruptIndexError, match="unfinished"):
        reader.verify()
    flip(path, "segments", pieces[0], 1)
    with tampering(path, "segments") as transaction:
        transaction.delete(pieces[-1])
    with pytest.raises(CorruptIndexError, match="missing"):
        streamlsh.writer(path)
