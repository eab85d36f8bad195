"""Creating an index: each limit has its error, with expected and received, and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import (
    DimensionError,
    FamilyParameterError,
    IndexExistsError,
    InvalidInputError,
    NonFiniteVectorError,
    SampleError,
    StorageError,
    UnknownFamilyError,
    UnknownMetricError,
    ZeroVectorError,
)
from tests.unit.limits.conftest import DIM, SAMPLE

SIGNS = {"family": "hyperplane"}
CREATE: list[tuple[dict[str, Any], type[InvalidInputError], str, str]] = [
    ({"dim": 0}, DimensionError, "1 to 8192", "0"),
    ({"dim": 8193}, DimensionError, "1 to 8192", "8193"),
    ({"dim": True}, DimensionError, "1 to 8192", "True"),
    ({"dim": 4.0}, DimensionError, "1 to 8192", "4.0"),
    ({"dim": "4"}, DimensionError, "1 to 8192", "4"),
    ({"metric": "manhattan"}, UnknownMetricError, "'cosine'", "'manhattan'"),
    ({"metric": None}, UnknownMetricError, "'cosine'", "None"),
    ({"family": "hnsw"}, UnknownFamilyError, "'voronoi'", "'hnsw'"),
    ({"family": 7}, UnknownFamilyError, "'voronoi'", "7"),
    ({**SIGNS, "bits": 0}, FamilyParameterError, "1 to 16", "0"),
    ({**SIGNS, "bits": 17}, FamilyParameterError, "1 to 16", "17"),
    ({**SIGNS, "bits": 8.0}, FamilyParameterError, "1 to 16", "8.0"),
    ({**SIGNS, "bits": True}, FamilyParameterError, "1 to 16", "True"),
    ({"tables": 0}, FamilyParameterError, "1 to", "0"),
    ({"tables": True}, FamilyParameterError, "1 to", "True"),
    ({**SIGNS, "bits": 16, "tables": 17}, FamilyParameterError, "1 to 16", "17"),
    ({"axes": 300}, FamilyParameterError, "multiple of 256", "300"),
    ({**SIGNS, "cells": 8}, FamilyParameterError, "bits, tables", "cells"),
    ({"bits": 8}, FamilyParameterError, "axes, tables", "bits"),
    ({"metric": "euclidean", "family": "hyperplane"}, UnknownFamilyError, "'pstable'", "'hyp"),
    ({"metric": "inner_product"}, SampleError, "sample=", "none"),
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
    ({"family": ["voronoi"]}, UnknownFamilyError, "'voronoi'", "['voronoi']"),
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
        {**SIGNS, "bits": 1, "tables": 1},
        {**SIGNS, "bits": 16, "tables": 16},
        {"axes": 256, "tables": 1},
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
    for name, family in (("without", "crosspolytope"), ("with", "voronoi")):
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


@pytest.mark.parametrize("map_size", [1 << 12, 1 << 15, 1 << 47])
def test_a_map_that_an_index_cannot_have_is_an_error_and_leaves_the_place_free(
    tmp_path: Path, map_size: int
) -> None:
    for _ in range(2):
        with pytest.raises(StorageError):
            streamlsh.create(tmp_path / "index", dim=512, map_size=map_size)
    streamlsh.create(tmp_path / "index", dim=512)
    with streamlsh.open(tmp_path / "index") as reader:
        assert len(reader) == 0


def test_other_pages_than_the_layout_counts_on_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamlsh.create(tmp_path / "index", dim=DIM)
    monkeypatch.setattr("streamlsh.storage.environment.PAGE_BYTES", 16_384)
    with pytest.raises(StorageError, match="pages of 4096 bytes"):
        streamlsh.create(tmp_path / "new", dim=DIM)
    with pytest.raises(StorageError, match="pages of 4096 bytes"):
        streamlsh.open(tmp_path / "index")
    monkeypatch.undo()
    streamlsh.create(tmp_path / "new", dim=DIM)
