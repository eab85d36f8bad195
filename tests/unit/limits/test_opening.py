"""Opening an index: what is none, or cannot be trusted, is refused; what is one is shared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

import streamlsh
from streamlsh.errors import (
    CorruptIndexError,
    FamilyDigestError,
    IndexContentError,
    IndexNotFoundError,
    NetworkFilesystemError,
    NewerFormatError,
    StorageError,
)
from streamlsh.storage.mounts import refuse_network_filesystem
from streamlsh.storage.schema import CONFIG_KEY, FORMAT, FORMAT_KEY, FORMAT_VERSION, STATE_KEY
from tests.tampering import flip, keys, tampering
from tests.unit.limits.conftest import DIM, SAMPLE


@pytest.mark.parametrize("opening", [streamlsh.open, streamlsh.writer])
def test_no_index_is_made_by_opening_one(tmp_path: Path, opening: Callable[[Path], Any]) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(IndexNotFoundError, match="create one first") as caught:
            opening(place)
        assert caught.value.path == str(place)
        assert isinstance(caught.value, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/index", "x" * 300])
def test_what_the_system_refuses_is_a_storage_error(tmp_path: Path, place: str) -> None:
    """Root may read and write anywhere, so permissions would not do."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="the system refused"):
        streamlsh.create(tmp_path / place, dim=DIM)
    for opening in (streamlsh.open, streamlsh.writer):
        with pytest.raises((StorageError, IndexNotFoundError)):
            opening(tmp_path / place)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:50 / /mnt/far\\040away rw,relatime shared:2 - nfs4 server:/x rw
31 22 0:51 / /mnt/far\\040away/near rw,relatime - xfs /dev/sdb1 rw
32 22 0:52 / /mnt/ssh rw - fuse.sshfs user@host: rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/data/index", None),
        ("/mnt/far away", "nfs4"),
        ("/mnt/far away/deep/index", "nfs4"),
        ("/mnt/far away/near/index", None),
        ("/mnt/far away-not", None),
        ("/mnt/ssh/index", "fuse.sshfs"),
    ],
)
def test_a_path_on_a_network_file_system_is_refused(
    tmp_path: Path, place: str, kind: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    if kind is None:
        refuse_network_filesystem(Path(place), mounts)
    else:
        with pytest.raises(NetworkFilesystemError, match=kind) as caught:
            refuse_network_filesystem(Path(place), mounts)
        assert caught.value.path == place


def test_where_no_mount_table_can_be_read_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_filesystem(tmp_path, tmp_path / "missing")


@pytest.mark.parametrize("opening", [streamlsh.open, streamlsh.writer])
def test_a_newer_format_is_refused(path: Path, opening: Callable[[Path], Any]) -> None:
    with tampering(path, "meta") as transaction:
        transaction.put(FORMAT_KEY, FORMAT.pack(FORMAT_VERSION + 1))
    with pytest.raises(NewerFormatError, match="update streamlsh") as caught:
        opening(path)
    assert f"format {FORMAT_VERSION}" in str(caught.value.expected)
    assert caught.value.received == f"format {FORMAT_VERSION + 1}"
    assert isinstance(caught.value, IndexContentError)


def test_a_missing_format_is_refused(path: Path) -> None:
    with tampering(path, "meta") as transaction:
        transaction.delete(FORMAT_KEY)
    with pytest.raises(CorruptIndexError, match="not a complete"):
        streamlsh.open(path)


def test_any_flipped_bit_of_family_or_configuration_is_refused(path: Path) -> None:
    copy = path.with_name("copy")
    with streamlsh.open(path) as reader:
        digest = reader.info()["family"]["digest"]
    places = [("meta", CONFIG_KEY, 0), ("meta", CONFIG_KEY, -1)]
    places += [("family", key, place) for key in keys(path, "family") for place in (0, -9, -1)]
    for database, key, place in places:
        shutil.copytree(path, copy)
        flip(copy, database, key, place, bit=6)
        for opening in (streamlsh.open, streamlsh.writer):
            with pytest.raises(FamilyDigestError, match="damaged or belongs to") as caught:
                opening(copy)
            assert caught.value.expected == digest
            assert caught.value.received != digest
        shutil.rmtree(copy)


def test_a_lost_or_foreign_family_is_refused(path: Path, tmp_path: Path) -> None:
    streamlsh.create(tmp_path / "other", dim=DIM, seed=1)
    with tampering(tmp_path / "other", "family") as transaction:
        foreign = transaction.get(b"frame")
    for change in ("replaced", "lost", "added"):
        copy = tmp_path / change
        shutil.copytree(path, copy)
        name = keys(copy, "family")[0]
        with tampering(copy, "family") as transaction:
            if change == "lost":
                transaction.delete(name)
            else:
                transaction.put(name if change == "replaced" else b"extra", foreign or b"")
        with pytest.raises(FamilyDigestError):
            streamlsh.open(copy)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "data.mdb").write_text("this is no index\n" * 1000)
    with pytest.raises(CorruptIndexError, match="damaged or no LMDB file"):
        streamlsh.open(text)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "data.mdb").touch()
    with pytest.raises(CorruptIndexError):
        streamlsh.open(empty)
    foreign = tmp_path / "foreign"
    with lmdb.open(str(foreign)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    with pytest.raises(CorruptIndexError, match="no streamlsh index") as caught:
        streamlsh.open(foreign)
    assert "meta" in str(caught.value.expected)
    assert isinstance(caught.value, IndexContentError)


@pytest.mark.parametrize("state", [None, b"", b"\x93\x01", b"\x01", b"\x91\x01"])
def test_an_index_without_a_sound_state_is_refused(path: Path, state: bytes | None) -> None:
    with tampering(path, "meta") as transaction:
        if state is None:
            transaction.delete(STATE_KEY)
        else:
            transaction.put(STATE_KEY, state)
    with pytest.raises(CorruptIndexError, match="state of the index"):
        streamlsh.writer(path)
    with streamlsh.open(path) as reader:
        for call in (reader.verify, reader.info, lambda: reader.search(SAMPLE[0])):
            with pytest.raises(CorruptIndexError, match="state of the index"):
                call()


def test_an_index_that_was_refused_can_be_opened_once_it_is_whole_again(path: Path) -> None:
    with tampering(path, "meta") as transaction:
        transaction.put(FORMAT_KEY, FORMAT.pack(9))
    for _ in range(2):
        with pytest.raises(NewerFormatError):
            streamlsh.open(path)
    with tampering(path, "meta") as transaction:
        transaction.put(FORMAT_KEY, FORMAT.pack(FORMAT_VERSION))
    with streamlsh.open(path) as reader:
        assert len(reader) == 3


def test_another_index_put_in_its_place_is_what_is_opened_next(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    streamlsh.create(other, dim=DIM)
    with streamlsh.open(path) as before:
        path.rename(tmp_path / "moved")
        other.rename(path)
        with streamlsh.open(path) as after:
            assert (len(before), len(after)) == (3, 0)
            with streamlsh.open(tmp_path / "moved") as moved, streamlsh.writer(path) as writer:
                assert len(moved) == 3
                writer.upsert(["z"], SAMPLE[:1])
                writer.commit()
            assert [item.id for item in after.items()] == ["z"]
        assert len(before) == 3


def test_an_index_may_be_deleted_and_created_again_while_a_reader_has_the_old_one(
    path: Path,
) -> None:
    old = streamlsh.open(path)
    shutil.rmtree(path)
    streamlsh.create(path, dim=DIM)
    new = streamlsh.open(path)
    assert (len(old), len(new)) == (3, 0)
    old.close()
    with streamlsh.open(path) as another:
        assert len(another) == len(new) == 0
    new.close()
