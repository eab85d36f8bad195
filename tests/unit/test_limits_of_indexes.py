"""Creating, opening and asking: each limit has its error, with expected and received."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import streamlsh
from streamlsh.config import MAX_K
from streamlsh.errors import (
    ClosedError,
    CorruptIndexError,
    DimensionError,
    FamilyDigestError,
    FamilyParameterError,
    IndexContentError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    ItemIdError,
    NetworkFilesystemError,
    NewerFormatError,
    NonFiniteVectorError,
    SampleError,
    SlotsExhaustedError,
    StorageError,
    UnknownFamilyError,
    UnknownMetricError,
    WriterLockedError,
    ZeroVectorError,
)
from streamlsh.storage.mounts import refuse_network_filesystem
from streamlsh.storage.schema import CONFIG_KEY, FORMAT, FORMAT_KEY, FORMAT_VERSION, STATE_KEY
from tests.conftest import FAMILIES
from tests.tampering import flip, keys, tampering

DIM = 4
SAMPLE = np.random.default_rng(0).standard_normal((64, DIM))


@pytest.fixture(params=FAMILIES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of three items, of either family."""
    made = tmp_path / "index"
    streamlsh.create(made, dim=DIM, family=request.param, sample=SAMPLE)
    with streamlsh.writer(made) as writer:
        writer.upsert(list("abc"), SAMPLE[:3])
    return made


@pytest.fixture
def reader(path: Path) -> Iterator[streamlsh.Reader]:
    with streamlsh.open(path) as reader:
        yield reader


CREATE: list[tuple[dict[str, Any], type[InvalidInputError], str, str]] = [
    ({"dim": 0}, DimensionError, "1 to 8192", "0"),
    ({"dim": 8193}, DimensionError, "1 to 8192", "8193"),
    ({"dim": True}, DimensionError, "1 to 8192", "True"),
    ({"dim": 4.0}, DimensionError, "1 to 8192", "4.0"),
    ({"dim": "4"}, DimensionError, "1 to 8192", "4"),
    ({"metric": "manhattan"}, UnknownMetricError, "'cosine'", "'manhattan'"),
    ({"metric": None}, UnknownMetricError, "'cosine'", "None"),
    ({"family": "hnsw"}, UnknownFamilyError, "'hyperplane' or 'voronoi'", "'hnsw'"),
    ({"family": 7}, UnknownFamilyError, "'hyperplane' or 'voronoi'", "7"),
    ({"bits": 0}, FamilyParameterError, "1 to 16", "0"),
    ({"bits": 17}, FamilyParameterError, "1 to 16", "17"),
    ({"bits": 8.0}, FamilyParameterError, "1 to 16", "8.0"),
    ({"bits": True}, FamilyParameterError, "1 to 16", "True"),
    ({"tables": 0}, FamilyParameterError, "1 to", "0"),
    ({"tables": True}, FamilyParameterError, "1 to", "True"),
    ({"bits": 16, "tables": 17}, FamilyParameterError, "1 to 16 with 16 bits", "17"),
    ({"cells": 8}, FamilyParameterError, "bits, tables", "cells"),
    ({"bit": 8}, FamilyParameterError, "bits, tables", "bit"),
    ({"family": "voronoi"}, SampleError, "sample=", "none"),
    ({"family": "voronoi", "sample": np.zeros((0, DIM))}, SampleError, "sample=", "none"),
    ({"sample": SAMPLE, "cells": 65}, SampleError, "at least 65 rows", "64"),
    ({"sample": SAMPLE, "cells": 0}, FamilyParameterError, "1 to 65536", "0"),
    ({"sample": SAMPLE, "cells": 1 << 17}, FamilyParameterError, "1 to 65536", "131072"),
    ({"sample": SAMPLE, "cells": True}, FamilyParameterError, "1 to 65536", "True"),
    ({"sample": SAMPLE, "bits": 8}, FamilyParameterError, "cells", "bits"),
    ({"sample": SAMPLE[:, :3]}, DimensionError, "(n, 4)", "(64, 3)"),
    ({"sample": SAMPLE[0]}, DimensionError, "(n, 4)", "(4,)"),
    ({"sample": SAMPLE * 0}, ZeroVectorError, "1e-18", "0"),
    ({"sample": SAMPLE * np.nan}, NonFiniteVectorError, "finite", "nan"),
    ({"seed": -1}, InvalidInputError, "0 to 9223372036854775807", "-1"),
    ({"seed": 2**63}, InvalidInputError, "0 to 9223372036854775807", "9223372036854775808"),
    ({"seed": None}, InvalidInputError, "0 to 9223372036854775807", "None"),
    ({"map_size": 0}, InvalidInputError, "1 to 140737488355328", "0"),
    ({"map_size": 1.5}, InvalidInputError, "1 to 140737488355328", "1.5"),
    ({"delete_retention": -1}, InvalidInputError, "at least 0", "-1"),
    ({"delete_retention": float("nan")}, InvalidInputError, "at least 0", "nan"),
    ({"delete_retention": "a day"}, InvalidInputError, "at least 0", "'a day'"),
    ({"family": ["voronoi"]}, UnknownFamilyError, "'hyperplane' or 'voronoi'", "['voronoi']"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "expected", "received"), CREATE)
def test_an_index_with_a_bad_argument_is_not_created(
    tmp_path: Path,
    arguments: dict[str, Any],
    error: type[InvalidInputError],
    expected: str,
    received: str,
) -> None:
    with pytest.raises(error) as caught:
        streamlsh.create(tmp_path / "index", **{"dim": DIM, **arguments})
    assert expected in str(caught.value.expected)
    assert received in str(caught.value.received)
    assert str(caught.value.expected) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"dim": 1},
        {"dim": 8192, "tables": 1},
        {"bits": 1, "tables": 1},
        {"bits": 16, "tables": 16},
        {"sample": SAMPLE[:1]},
        {"sample": SAMPLE, "cells": 64},
        {"sample": np.ones((50, DIM))},
        {"sample": SAMPLE, "family": "hyperplane"},
    ],
)
def test_an_index_at_the_ends_of_the_ranges_works(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    path = tmp_path / "deep" / "folder" / "index"
    arguments = {"dim": DIM, **arguments}
    streamlsh.create(path, **arguments)
    rows = np.random.default_rng(1).standard_normal((50, arguments["dim"]))
    with streamlsh.writer(path) as writer:
        writer.upsert([str(row) for row in range(50)], rows)
    with streamlsh.open(path) as reader:
        assert reader.search(rows[3], 1).scores == pytest.approx([1], abs=1e-6)
        assert reader.search(rows[3], 1, probes=1).scores == pytest.approx([1], abs=1e-6)
        reader.verify()


def test_the_family_follows_from_whether_there_is_a_sample(tmp_path: Path) -> None:
    streamlsh.create(tmp_path / "without", dim=DIM)
    streamlsh.create(tmp_path / "with", dim=DIM, sample=SAMPLE)
    for name, family in (("without", "hyperplane"), ("with", "voronoi")):
        with streamlsh.open(tmp_path / name) as reader:
            assert reader.config.family == family
            assert (reader.config.dim, reader.config.metric) == (DIM, "cosine")


def test_nothing_is_created_where_something_is(path: Path) -> None:
    before = (path / "data.mdb").read_bytes()
    for place in (path, path / "data.mdb"):
        with pytest.raises(IndexExistsError, match="exists already") as caught:
            streamlsh.create(place, dim=DIM)
        assert caught.value.path == str(place)
        assert isinstance(caught.value, FileExistsError)
    assert (path / "data.mdb").read_bytes() == before


def test_an_index_may_be_created_in_an_empty_folder(tmp_path: Path) -> None:
    streamlsh.create(tmp_path, dim=DIM)
    with streamlsh.open(tmp_path) as reader:
        assert len(reader) == 0


@pytest.mark.parametrize("opening", [streamlsh.open, streamlsh.writer])
def test_no_index_is_made_by_opening_one(tmp_path: Path, opening: Callable[[Path], Any]) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(IndexNotFoundError, match="create one first") as caught:
            opening(place)
        assert caught.value.path == str(place)
        assert isinstance(caught.value, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


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
    with pytest.raises(NewerFormatError, match="upgrade") as caught:
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


def test_a_second_writer_is_refused_and_the_first_goes_on(path: Path) -> None:
    with streamlsh.writer(path) as first:
        with pytest.raises(WriterLockedError, match="Stop the other one") as caught:
            streamlsh.writer(path)
        assert f"pid {os.getpid()}" in caught.value.holder
        first.upsert(["d"], SAMPLE[3:4])
        assert first.commit().inserted == 1
    with streamlsh.writer(path) as second:
        assert second.epoch == first.epoch + 1


@pytest.mark.parametrize("map_size", [1 << 12, 1 << 16, 1 << 47])
def test_a_map_that_an_index_cannot_have_is_an_error_and_leaves_the_place_free(
    tmp_path: Path, map_size: int
) -> None:
    for _ in range(2):
        with pytest.raises(StorageError):
            streamlsh.create(tmp_path / "index", dim=512, map_size=map_size)
    streamlsh.create(tmp_path / "index", dim=512)
    with streamlsh.open(tmp_path / "index") as reader:
        assert len(reader) == 0


@pytest.mark.parametrize("map_size", [0, -1, 1.5, "1", 1 << 48])
def test_a_writer_is_not_given_a_map_of_no_size(path: Path, map_size: Any) -> None:
    with pytest.raises(InvalidInputError, match="not a usable map_size") as caught:
        streamlsh.writer(path, map_size=map_size)
    assert caught.value.received == repr(map_size)
    with streamlsh.writer(path) as writer:
        assert writer.epoch == 2


def test_a_map_never_shrinks(path: Path) -> None:
    with streamlsh.open(path) as reader:
        before = reader.info()["bytes"]["map"]
        with streamlsh.writer(path, map_size=4096) as writer:
            writer.upsert(["d"], SAMPLE[3:4])
        assert reader.info()["bytes"]["map"] == before
        assert len(reader) == 4


def test_when_all_slot_numbers_are_given_out_nothing_of_the_batch_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.commit.MAX_SLOTS", 5)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(list("def"), SAMPLE[3:6])
        with pytest.raises(SlotsExhaustedError, match="export, create, load"):
            writer.commit()
        assert (len(reader), reader.commit, writer.staged) == (3, 1, 3)
        writer.discard()
        writer.upsert(list("de"), SAMPLE[3:5])
        assert writer.commit().inserted == 2
        reader.verify()


QUERY: list[tuple[dict[str, Any], str]] = [
    *(({"k": k}, f"1 to {MAX_K}") for k in (0, -1, MAX_K + 1, 1.0, "1", True, None)),
    *(({"probes": probes}, "1 to ") for probes in (0, -1, 1 << 30, 2.0, "2", True)),
    *(({"rerank": rerank}, "1 to 1000000") for rerank in (0, -1, 1_000_001, 2.0, "2", True)),
    *(({"match": match}, "'any', 'all' or") for match in (0, -1, 99, 1.0, "some", True, None)),
]


@pytest.mark.parametrize(("arguments", "expected"), QUERY)
def test_an_option_of_a_query_out_of_its_range_is_refused(
    reader: streamlsh.Reader, arguments: dict[str, Any], expected: str
) -> None:
    name, value = next(iter(arguments.items()))
    calls: list[Callable[[], Any]] = [
        lambda: reader.search(SAMPLE[0], **arguments),
        lambda: reader.search_ids("a", **arguments),
        lambda: reader.search(SAMPLE[:2], **arguments),
    ]
    if name == "k":
        calls.append(lambda: reader.exact(SAMPLE[0], **arguments))
        calls.append(lambda: reader.search_ids("unknown", **arguments))
    for call in calls:
        with pytest.raises(InvalidInputError, match=f"{name} is out of range") as caught:
            call()
        assert expected in str(caught.value.expected)
        assert caught.value.received == repr(value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 1},
        {"k": MAX_K},
        {"k": np.int64(2)},
        {"probes": 1},
        {"probes": np.int32(1)},
        {"rerank": 1},
        {"rerank": 1_000_000},
        {"match": 1},
        {"match": np.uint8(1)},
    ],
)
def test_options_at_the_ends_of_their_ranges_are_taken(
    reader: streamlsh.Reader, arguments: dict[str, Any]
) -> None:
    hits = reader.search(SAMPLE[0], **arguments)
    assert hits.ids[0] == "a"
    assert len(hits.ids) == min(3, int(arguments.get("k", 10)))


BAD_QUERIES: list[tuple[Any, type[InvalidInputError]]] = [
    (np.ones(DIM + 1), DimensionError),
    (np.ones((1, 1, DIM)), DimensionError),
    (1.0, DimensionError),
    ([[1, 2, 3, 4], [1]], DimensionError),
    (["a"] * DIM, DimensionError),
    (np.zeros(DIM), ZeroVectorError),
    (np.full(DIM, np.nan), NonFiniteVectorError),
    (np.full(DIM, 1e300), NonFiniteVectorError),
]  # fmt: skip


@pytest.mark.parametrize(("query", "error"), BAD_QUERIES)
def test_a_vector_that_cannot_be_asked_for_is_refused(
    reader: streamlsh.Reader, query: Any, error: type[InvalidInputError]
) -> None:
    for ask in (reader.search, reader.exact):
        with pytest.raises(error):
            ask(query)


def test_a_string_is_no_list_of_ids_to_exclude(reader: streamlsh.Reader) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: reader.search(SAMPLE[0], exclude="ab"),
        lambda: reader.exact(SAMPLE[0], exclude="ab"),
        lambda: reader.search_ids("a", exclude="ab"),
        lambda: reader.search_ids("unknown", exclude="ab"),
    ]
    for call in calls:
        with pytest.raises(ItemIdError, match="no list of ids"):
            call()


def calls_of(source: streamlsh.Reader | streamlsh.Snapshot) -> list[Callable[[], Any]]:
    return [
        lambda: source.search(SAMPLE[0]),
        lambda: source.search(SAMPLE[0], probes=1),
        lambda: source.search_ids("a"),
        lambda: source.search_ids("unknown"),
        lambda: source.exact(SAMPLE[0]),
        lambda: source.get("a"),
        lambda: "a" in source,
        lambda: next(source.items()),
        source.digest,
        source.verify,
    ]


def test_a_closed_reader_says_so(path: Path) -> None:
    reader = streamlsh.open(path)
    listing = reader.items()
    reader.close()
    reader.close()
    calls: list[Callable[[], Any]] = [
        *calls_of(reader), lambda: len(reader), lambda: reader.commit, lambda: reader.positions,
        reader.info, lambda: next(listing), lambda: reader.snapshot().__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError, match="reader was closed"):
            call()


def test_a_closed_snapshot_says_so(reader: streamlsh.Reader) -> None:
    with reader.snapshot() as snapshot:
        listing = snapshot.items()
        next(listing)
    calls = calls_of(snapshot)
    calls.append(lambda: next(listing))
    for call in calls:
        with pytest.raises(ClosedError, match="snapshot was closed"):
            call()
    assert len(reader) == 3


def test_a_snapshot_outlives_its_reader_and_keeps_the_file_open(path: Path) -> None:
    reader = streamlsh.open(path)
    with reader.snapshot() as snapshot:
        reader.close()
        assert len(snapshot.search(SAMPLE[0]).ids) == 3
        with streamlsh.open(path) as other:
            assert len(other) == 3
        assert snapshot.get("a") is not None
        snapshot.verify()
    with streamlsh.open(path) as reader:
        assert len(reader) == 3


def test_a_closed_writer_says_so_and_drops_what_is_staged(path: Path) -> None:
    writer = streamlsh.writer(path)
    writer.upsert(["d"], SAMPLE[3:4])
    writer.close()
    writer.close()
    calls: list[Callable[[], Any]] = [
        lambda: writer.upsert(["d"], SAMPLE[3:4]),
        lambda: writer.delete(["a"]),
        lambda: writer.stage([]),
        writer.commit,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="writer was closed"):
            call()
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
