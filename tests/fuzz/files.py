"""Files to load: every row can be used, or one typed error says what is wrong."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamlsh import Upsert, validate_update
from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files import open_rows, read_vectors
from streamlsh.datasets import load_folder
from streamlsh.errors import InvalidInputError
from tests.fuzz.records import CONFIG, DIM

_IDS = b"a\nb\nc\n"


def check_jsonl(data: bytes) -> None:
    """As a file of JSON lines."""
    _check_rows("items.jsonl", data)


def check_parquet(data: bytes) -> None:
    """As a Parquet file."""
    _check_rows("items.parquet", data)


def check_npy(data: bytes) -> None:
    """As an array with ids beside it, and as both files of a data set."""
    _check_rows("vectors.npy", data, ids=_IDS)
    for codes, scales in ((data, _array(np.ones(3, np.float32))), (codes_seed(), data)):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x-codes.npy").write_bytes(codes)
            Path(folder, "x-scales.npy").write_bytes(scales)
            try:
                vectors = load_folder(folder, "x")
            except InvalidInputError:
                continue
            lengths = np.linalg.norm(vectors, axis=1)
            np.testing.assert_allclose(lengths, np.ones(len(vectors)), atol=1e-4)


def check_ids(data: bytes) -> None:
    """As the ids of an array's rows."""
    _check_rows("vectors.npy", npy_seeds()[0], ids=data)


def _check_rows(name: str, data: bytes, ids: bytes | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, ids_path = Path(folder, name), Path(folder, "ids.txt")
        path.write_bytes(data)
        if ids is not None:
            ids_path.write_bytes(ids)
        try:
            with open_rows(path, None if ids is None else ids_path) as source:
                source.first_length()
                count = sum(_check_batch(rows) for rows in source.batches(DIM))
            assert count == 0 or read_vectors(path, DIM).shape == (count, DIM)
        except InputFileError:
            return


def _check_batch(rows: Any) -> int:
    """Each row makes an update that is good, or refused with a typed error; how many."""
    count = len(rows.ids)
    assert rows.vectors.shape == (count, DIM)
    assert rows.vectors.dtype == np.float32
    assert len(rows.places) == count
    for column in (rows.versions, rows.tags, rows.attributes):
        assert column is None or len(column) == count
    for i in range(count):
        version: Any = None if rows.versions is None else rows.versions[i]
        tags: Any = None if rows.tags is None else rows.tags[i]
        attributes: Any = None if rows.attributes is None else rows.attributes[i]
        try:
            validate_update(CONFIG, Upsert(rows.ids[i], rows.vectors[i], version, tags, attributes))
        except InvalidInputError:
            continue
    return count


def jsonl_seeds() -> list[bytes]:
    """Good lines, and the usual kinds of bad ones."""
    good = b'{"id": "a", "vector": [1, 2.5, -3, 4]}\n'
    full = (
        b'{"id": "b", "vector": [1, 2, 3, 4], "version": 3, "tags": ["t"], '
        b'"attributes": {"n": [1, null]}}\n'
    )
    return [
        good + b"\n" + full,
        b'{"id": "a", "id": "b", "vector": [1, 2, 3, 4]}\n',
        b'{"id": "a", "vector": [NaN, 1e999, 2, 3]}\n',
        b'{"id": "\\ud800", "vector": [1, 2, 3, 123456789012345678901234567890]}\n',
        b'{"id": "a", "vector": ' + b"[" * 40 + b"]" * 40 + b"}\n",
        b'{"id": "a", "vector": [1, 2, 3, ' + b"9" * 400 + b"]}\n",
        b'{"id": "a", "vector": ' + b"[" * 5000,
    ]


def parquet_seeds() -> list[bytes]:
    """Files of every column type, small enough that single bytes matter."""
    columns: dict[str, Any] = {
        "id": ["a", "b", "c"],
        "vector": pa.array([[0.5] * DIM] * 3, type=pa.list_(pa.float32())),
    }
    full = columns | {
        "version": [1, None, 3],
        "tags": [["x"], None, []],
        "attributes": ['{"n": 1}', None, "{}"],
    }
    fixed = columns | {"vector": pa.array([[0.5] * DIM] * 3, type=pa.list_(pa.float32(), DIM))}
    structs = columns | {"attributes": [{"n": 1, "m": [1.5]}, None, {"n": None, "m": []}]}
    return [
        _parquet(columns),
        _parquet(full),
        _parquet(fixed),
        _parquet(structs, compression="zstd"),
        _parquet(columns, use_dictionary=False, data_page_version="2.0"),
    ]


def npy_seeds() -> list[bytes]:
    """Arrays that are good, and headers that promise or hide too much."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    return [
        _array(np.ones((3, DIM), np.float32)),
        _array(np.asfortranarray(np.arange(3.0 * DIM).reshape(3, DIM))),
        codes_seed(),
        npy(header % b"1099511627776, 4"),
        npy(header % (b"-" * 4000 + b"1")),
        npy(header % b"3L, 4"),
        b"PK\x03\x04",
    ]


def ids_seeds() -> list[bytes]:
    """Lists of ids."""
    return [_IDS, b"a\r\nb\r\n\xff\n", b"a\n\nc"]


def npy(header: bytes, data: bytes = bytes(48)) -> bytes:
    """A file with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def codes_seed() -> bytes:
    """Codes of a small data set."""
    return _array(np.arange(1, 3 * DIM + 1, dtype=np.int8).reshape(3, DIM))


def _array(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **{"compression": "none"} | options)
    return buffer.getvalue()
