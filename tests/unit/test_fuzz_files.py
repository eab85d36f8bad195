"""No file ends in anything but rows or a typed error, whatever its bytes."""

from __future__ import annotations

import base64
import io
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files import open_rows, read_vectors
from streamlsh.datasets import load_folder
from streamlsh.errors import InvalidInputError, NonFiniteVectorError
from streamlsh.updates import check_vectors
from tests.fuzz import files
from tests.fuzz.records import CONFIG
from tests.fuzz.strategies import FUZZ, any_bytes, values, within_memory

NAMES = st.sampled_from(["id", "vector", "version", "tags", "attributes", "a"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
LINES = st.fixed_dictionaries(
    {"id": st.text(max_size=4), "vector": st.lists(LEAVES, min_size=4, max_size=4)},
    optional={
        "version": LEAVES, "tags": values(LEAVES, NAMES), "attributes": values(LEAVES, NAMES),
    },
)  # fmt: skip


@FUZZ
@given(any_bytes(files.jsonl_seeds()))
def test_bytes_as_json_lines(data: bytes) -> None:
    within_memory(files.check_jsonl, data, (2 << 20) + 400 * len(data))


@FUZZ
@given(st.lists(LINES | values(LEAVES, NAMES), max_size=3))
def test_values_as_json_lines(lines: list[Any]) -> None:
    files.check_jsonl("\n".join(json.dumps(line) for line in lines).encode())


@FUZZ
@given(any_bytes(files.parquet_seeds()))
def test_bytes_as_parquet(data: bytes) -> None:
    files.check_parquet(data)


@FUZZ
@given(any_bytes(files.npy_seeds()))
def test_bytes_as_an_array(data: bytes) -> None:
    within_memory(files.check_npy, data, (4 << 20) + 400 * len(data))


@FUZZ
@given(
    st.sampled_from(["<f4", "<f8", "|i1", ">f4", "<c8", "|O", "<U3", "f4,f4"])
    | st.text(max_size=3),
    st.booleans() | st.none(),
    st.lists(st.integers(-1, 5) | st.sampled_from([2**31, 2**62, 2**70]), max_size=4).map(tuple)
    | st.booleans(),
)
def test_headers_of_arrays(descr: str, order: bool | None, shape: Any) -> None:
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode()
    within_memory(files.check_npy, files.npy(header), 4 << 20)


@FUZZ
@given(any_bytes(files.ids_seeds()))
def test_bytes_as_ids(data: bytes) -> None:
    files.check_ids(data)


@pytest.mark.parametrize("line", [
    b'{"id": "a", "id": "b", "vector": [1, 2, 3, 4]}',
    b'{"id": "a", "vector": [1, 2, 3, 4], "attributes": {"n": {"x": 1, "x": 2}}}',
])  # fmt: skip
def test_a_field_that_comes_twice_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(line)
    with open_rows(path, None) as source, pytest.raises(InputFileError, match="more than once"):
        list(source.batches(4))


@pytest.mark.parametrize(
    "shape", [b"-" * 4000 + b"1", b"(" * 250 + b")" * 250, b"1" + b"+1" * 2000]
)
def test_a_header_that_nests_too_deep_is_refused(tmp_path: Path, shape: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(
        files.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b"}")
    )
    with pytest.raises(InputFileError, match=r"\.npy file"):
        read_vectors(path)


def test_an_array_that_announces_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (2147483648, 4), }"
    (tmp_path / "x-codes.npy").write_bytes(files.npy(header))
    np.save(tmp_path / "x-scales.npy", np.ones(3, np.float32))

    def load(_: bytes) -> None:
        with pytest.raises(InvalidInputError, match="npy file"):
            load_folder(tmp_path, "x")

    within_memory(load, b"", 1 << 20)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf, 1e38])
def test_a_data_set_without_directions_is_refused(tmp_path: Path, scale: float) -> None:
    np.save(tmp_path / "x-codes.npy", np.full((2, 4), 127, np.int8))
    np.save(tmp_path / "x-scales.npy", np.array([0.1, scale], np.float32))
    with pytest.raises(InvalidInputError, match="direction in row 1"):
        load_folder(tmp_path, "x")


def test_a_parquet_file_of_huge_lists_of_nothing_takes_no_memory(tmp_path: Path) -> None:
    """A list of fixed size takes its place even where there is none."""
    kind = pa.list_(pa.float32(), 1 << 28)
    small = pa.table({"id": ["a"], "vector": pa.array([None], pa.list_(pa.float32()))})
    schema = pa.schema([("id", pa.string()), ("vector", kind)])
    buffer = io.BytesIO()
    stored = small.schema.with_metadata({})
    with pq.ParquetWriter(buffer, stored, store_schema=False) as writer:
        writer.add_key_value_metadata({"ARROW:schema": _encoded(schema)})
        writer.write_table(small)
    path = tmp_path / "items.parquet"
    path.write_bytes(buffer.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        pytest.raises(InputFileError, match="lists of at most 8192"),
        open_rows(path, None) as source,
    ):
        list(source.batches(4))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown:,} KiB"


def _encoded(schema: Any) -> bytes:
    return base64.b64encode(schema.serialize().to_pybytes())


def test_a_signalling_nan_in_an_array_is_refused_like_any_other(tmp_path: Path) -> None:
    rows = np.ones((2, 4))
    rows.view(np.uint64)[1, 2] = 0x7FF3_8000_0000_0000
    np.save(tmp_path / "x.npy", rows)
    (tmp_path / "ids.txt").write_bytes(b"a\nb\n")
    with open_rows(tmp_path / "x.npy", tmp_path / "ids.txt") as source:
        (batch,) = source.batches(4)
    for vectors in (batch.vectors, rows):
        with pytest.raises(NonFiniteVectorError, match="row 1"):
            check_vectors(CONFIG, vectors)
