"""Small records end with a checksum: none that was damaged is taken for a sound one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import CALIBRATION_KEY, STATE_KEY, commit_key, position_key
from streamlsh.storage.sealing import seal, unseal
from tests.fuzz import indexes
from tests.tampering import flip

KEY, RECORD = b"item-17", b"\x07\x00\x00\x00" + bytes(range(8))


def test_a_sealed_record_comes_back() -> None:
    for record in (b"", RECORD):
        assert unseal(KEY, seal(KEY, record)) == record
        assert unseal(memoryview(KEY), memoryview(seal(KEY, record))) == record


def test_a_bit_that_was_flipped_anywhere_is_noticed() -> None:
    stored = seal(KEY, RECORD)
    for bit in range(8 * len(stored)):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            unseal(KEY, bytes(changed))


def test_a_record_at_another_key_or_cut_short_is_noticed() -> None:
    stored = seal(KEY, RECORD)
    for bit in range(8 * len(KEY)):
        other = bytearray(KEY)
        other[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            unseal(bytes(other), stored)
    for length in range(len(stored)):
        with pytest.raises(ValueError, match="checksum"):
            unseal(KEY, stored[:length])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexes.sound(), tmp_path / "index"))


def _write(path: Path) -> None:
    """Write the ids of a damaged index again."""
    with streamlsh.writer(path) as writer:
        writer.upsert([f"i{row}" for row in range(8)], np.ones((8, indexes.DIM)))
        writer.commit()


Use = Callable[[Path], object]
USES: dict[str, Use] = {
    "length": lambda path: len(streamlsh.open(path)),
    "positions": lambda path: streamlsh.open(path).positions,
    "search": lambda path: streamlsh.open(path).search(np.ones(indexes.DIM)),
    "get": lambda path: streamlsh.open(path).get("i7"),
    "items": lambda path: list(streamlsh.open(path).items()),
    "search by id": lambda path: streamlsh.open(path).search_ids(["i7"]),
    "writer": lambda path: streamlsh.writer(path).close(),
    "write": _write,
}


@pytest.mark.parametrize(("database", "key", "uses"), [
    ("meta", STATE_KEY, ["length", "search", "writer"]),
    ("meta", CALIBRATION_KEY, ["search"]),
    ("positions", position_key("topic", 0), ["positions", "search", "writer"]),
    ("items", b"i7", ["get", "items", "search by id", "write"]),
    ("items", b"i1", ["items", "write"]),  # a delete marker
    ("expiry", commit_key(1), ["write"]),
    ("changes", commit_key(1), []),  # a reader that follows commits reads these
])  # fmt: skip
def test_no_bit_of_a_small_record_changes_unnoticed(
    database: str, key: bytes, uses: list[str], path: Path, tmp_path: Path
) -> None:
    """Each bit of a short record, some of a long one; among them are sound values of every kind."""
    bits = 8 * len(indexes.stored(database, key))
    for bit in range(0, bits, max(1, bits // 12)):
        damaged = tmp_path / f"{bit}"
        shutil.copytree(path, damaged)
        flip(damaged, database, key, bit // 8, bit % 8)
        for name in uses:
            with pytest.raises(CorruptIndexError):
                USES[name](damaged)
        with streamlsh.open(damaged) as reader, pytest.raises(CorruptIndexError):
            reader.verify()


def test_a_reader_does_not_follow_a_damaged_record_of_what_was_written(path: Path) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        commit = reader.commit
        writer.upsert(["new"], np.ones((1, indexes.DIM)))
        writer.commit()
        assert reader.commit == commit + 1
        writer.upsert(["newer"], np.ones((1, indexes.DIM)))
        writer.commit()
        environment = reader._index.environment
        database = environment.database("changes")
        with environment.write() as transaction, transaction.cursor(database) as cursor:
            assert cursor.last()
            key, value = cursor.item()
            changed = bytearray(value)
            changed[4] ^= 1
            cursor.put(key, bytes(changed))
        with pytest.raises(CorruptIndexError, match="what a commit wrote"):
            reader.search(np.ones(indexes.DIM))
