"""No bytes make a load end in anything but success or one typed error."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamlsh
from streamlsh.cli import main
from tests.unit.cli.conftest import DIM

FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One index for all examples: what loads, loads into it."""
    path = tmp_path_factory.mktemp("fuzz") / "items.index"
    streamlsh.create(path, dim=DIM, metric="cosine")
    return path


def _array_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((3, DIM), dtype=np.float32))
    return buffer.getvalue()


def _parquet_bytes() -> bytes:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "vector": pa.array([[0.5] * DIM] * 3, type=pa.list_(pa.float32())),
            "version": [1, None, 3],
            "tags": [["x"], None, []],
            "attributes": ['{"n": 1}', None, "{}"],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none")
    return buffer.getvalue()


def _damaged(sound: bytes) -> st.SearchStrategy[bytes]:
    """A sound file with some bytes changed, cut off or put in."""

    def damage(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = sound
        for start, length, new in edits:
            data = data[:start] + new + data[start + length :]
        return data

    edit = st.tuples(
        st.integers(0, len(sound)), st.integers(0, 8) | st.just(len(sound)), st.binary(max_size=8)
    )
    return st.lists(edit, min_size=1, max_size=4).map(damage)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4)
    ),
    max_leaves=8,
)
VECTORS = st.lists(st.floats(width=32), min_size=DIM, max_size=DIM) | JSON_VALUES
ROWS = st.fixed_dictionaries(
    {"id": st.text(max_size=4) | JSON_VALUES, "vector": VECTORS},
    optional={"version": JSON_VALUES, "tags": JSON_VALUES, "attributes": JSON_VALUES},
)


@pytest.fixture
def load(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, bytes], None]:
    """Load bytes as a file of that name, and check how it ends."""
    ids = tmp_path / "ids.txt"
    ids.write_text("a\nb\nc\n", encoding="utf-8")

    def load(name: str, data: bytes) -> None:
        file = tmp_path / name
        file.write_bytes(data)
        extra = ["--ids", str(ids)] if name.endswith(".npy") else []
        capsys.readouterr()
        code = main(["load", str(shared), str(file), *extra, "--json"])
        out, err = capsys.readouterr()
        if code == 0:
            assert json.loads(out)["rows"] >= 0
        else:
            assert code == 1
            assert json.loads(out)["error"]["type"] == "InputFileError"
            assert err.startswith(f"error: {tmp_path}")
            assert err.count("\n") == 1

    return load


@FUZZ
@given(data=st.binary(max_size=200) | _damaged(_array_bytes()))
def test_bytes_as_an_array(load: Callable[[str, bytes], None], data: bytes) -> None:
    load("vectors.npy", data)


@FUZZ
@given(data=st.binary(max_size=200) | _damaged(_parquet_bytes()))
def test_bytes_as_parquet(load: Callable[[str, bytes], None], data: bytes) -> None:
    load("items.parquet", data)


@FUZZ
@given(data=st.binary(max_size=200))
def test_bytes_as_json_lines(load: Callable[[str, bytes], None], data: bytes) -> None:
    load("items.jsonl", data)


@FUZZ
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_values_as_json_lines(load: Callable[[str, bytes], None], rows: list[object]) -> None:
    load("items.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
