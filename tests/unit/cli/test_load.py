"""Loading files: every format, row by row, with errors that name the row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamlsh
from tests.unit.cli.conftest import DIM, Run

VECTOR = [1.0] + [0.0] * (DIM - 1)


def _jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_json_lines_bring_everything_an_item_can_have(
    run: Run, empty: Path, tmp_path: Path
) -> None:
    file = _jsonl(
        tmp_path / "items.jsonl",
        {"id": "a", "vector": VECTOR},
        {"id": "b", "vector": VECTOR, "version": 7, "tags": ["x"], "attributes": {"n": [1, "ü"]}},
        {"id": "c", "vector": [1] * DIM, "version": None, "tags": None, "attributes": None},
    )
    outcome = run("load", empty, file, "--json")
    assert outcome.code == 0
    assert (outcome.json["rows"], outcome.json["inserted"]) == (3, 3)
    with streamlsh.open(empty) as reader:
        a, b = reader.get("a"), reader.get("b")
    assert a is not None
    assert b is not None
    assert (a.version, a.tags, a.attributes) == (None, (), None)
    assert (b.version, b.tags, b.attributes) == (7, ("x",), {"n": [1, "ü"]})


def test_blank_lines_are_passed_over_and_still_counted(
    run: Run, empty: Path, tmp_path: Path
) -> None:
    file = tmp_path / "items.jsonl"
    good = json.dumps({"id": "a", "vector": VECTOR})
    file.write_text(f"\n{good}\n  \n{{}}\n", encoding="utf-8")
    assert "line 4" in run("load", empty, file).err


def test_loading_the_same_file_again_changes_nothing(run: Run, empty: Path, tmp_path: Path) -> None:
    file = _jsonl(
        tmp_path / "items.jsonl",
        {"id": "a", "vector": VECTOR},
        {"id": "b", "vector": VECTOR, "version": 3},
    )
    assert run("load", empty, file, "--json").json["inserted"] == 2
    before = run("digest", empty).out
    again = run("load", empty, file, "--json").json
    assert (again["inserted"], again["replaced"]) == (0, 0)
    assert run("digest", empty).out == before


def test_an_empty_file_loads_nothing(run: Run, empty: Path, tmp_path: Path) -> None:
    outcome = run("load", empty, _jsonl(tmp_path / "items.jsonl"), "--json")
    assert outcome.code == 0
    assert outcome.json["rows"] == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "JSON object"),
        ("[1]", "received an array"),
        ("7", "received a number"),
        ("null", "received null"),
        ("{}", "'id'"),
        ('{"id": "a"}', "'vector'"),
        ('{"id": "a", "vector": [1, 2]}', "expected 8 numbers, received 2"),
        ('{"id": "a", "vector": "12345678"}', "array of numbers"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, true]}', "array of numbers"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, "8"]}', "array of numbers"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, NaN]}', "NaN"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 1e999]}', "expected"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 1e39]}', "expected"),
        (f'{{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 1{"0" * 400}]}}', "too large"),
        ('{"id": "a", "vector": [0, 0, 0, 0, 0, 0, 0, 0]}', "expected"),
        ('{"id": "", "vector": [1, 2, 3, 4, 5, 6, 7, 8]}', "expected"),
        ('{"id": 7, "vector": [1, 2, 3, 4, 5, 6, 7, 8]}', "expected"),
        ('{"id": "\\ud800", "vector": [1, 2, 3, 4, 5, 6, 7, 8]}', "expected"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 8], "tag": 1}', "'tag'"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 8], "tags": "x"}', "expected"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 8], "version": "1"}', "expected"),
        (f'{{"id": "a", "vector": {[1] * 8}, "version": {2**63}}}', "expected"),
        ('{"id": "a", "vector": [1, 2, 3, 4, 5, 6, 7, 8], "attributes": [1]}', "expected"),
        (f'{{"id": "a", "vector": {[1] * 8}, "attributes": {{"a": {"[" * 700}{"]" * 700}}}}}', ""),
        ("[" * 100_000, "nested"),
    ],
)
def test_a_bad_line_is_named_and_what_stands_before_it_stays(
    run: Run, empty: Path, tmp_path: Path, line: str, expected: str
) -> None:
    good = "".join(
        json.dumps({"id": f"{number}", "vector": VECTOR}) + "\n" for number in range(1_000)
    )
    file = tmp_path / "items.jsonl"
    file.write_text(f"{good}{line}\n", encoding="utf-8")
    outcome = run("load", empty, file, "--json")
    assert outcome.code == 1
    assert f"{file}, line 1001: " in outcome.err
    assert expected in outcome.err
    assert "1,000 rows before it are committed" in outcome.err
    assert " in row " not in outcome.err
    assert outcome.json["error"]["type"] == "InputFileError"
    with streamlsh.open(empty) as reader:
        assert len(reader) == 1_000


def test_a_line_is_never_read_without_bound(run: Run, empty: Path, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    with file.open("wb") as out:
        out.truncate(9 << 20)
    assert "bytes, received more" in run("load", empty, file).err


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float16()),
        pa.list_(pa.float32(), DIM),
    ],
    ids=str,
)
def test_parquet_vectors_may_be_lists_of_any_kind(
    run: Run, empty: Path, tmp_path: Path, kind: Any
) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, DIM)).astype(np.float16)
    file = _parquet(
        tmp_path / "items.parquet",
        {"id": [*"abcde"], "vector": pa.array(list(vectors), type=kind)},
    )
    assert run("load", empty, file, "--json").json["inserted"] == 5
    with streamlsh.open(empty) as reader:
        item = reader.get("d")
    assert item is not None
    np.testing.assert_array_equal(item.vector, vectors[3].astype(np.float32))


@pytest.mark.parametrize("attributes", [[{"n": 1}, None], ['{"n": 1}', None]])
def test_parquet_brings_everything_an_item_can_have(
    run: Run, empty: Path, tmp_path: Path, attributes: list[Any]
) -> None:
    file = _parquet(
        tmp_path / "items.parquet",
        {
            "id": ["a", "b"],
            "vector": [VECTOR, VECTOR],
            "version": [7, None],
            "tags": [["x"], None],
            "attributes": attributes,
        },
    )
    assert run("load", empty, file).code == 0
    with streamlsh.open(empty) as reader:
        a, b = reader.get("a"), reader.get("b")
    assert a is not None
    assert b is not None
    assert (a.version, a.tags, a.attributes) == (7, ("x",), {"n": 1})
    assert (b.version, b.tags, b.attributes) == (None, (), None)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": ["a"]}, "'vector'"),
        ({"vector": [VECTOR]}, "'id'"),
        ({"id": [1], "vector": [VECTOR]}, "id: expected strings, received int64"),
        ({"id": ["a"], "vector": [1.0]}, "vector: expected lists of floats, received double"),
        ({"id": ["a"], "vector": [VECTOR], "price": [1]}, "'price'"),
        ({"id": ["a"], "vector": [VECTOR], "version": [1.5]}, "version: expected integers"),
        ({"id": ["a"], "vector": [VECTOR], "tags": ["x"]}, "tags: expected lists of strings"),
        ({"id": ["a", "b"], "vector": [VECTOR, [1.0]]}, "row 2: vector: expected 8 numbers"),
        ({"id": ["a", "b"], "vector": [VECTOR, None]}, "row 2: vector: expected 8 numbers"),
        ({"id": ["a", "b"], "vector": [VECTOR, [*VECTOR[1:], None]]}, "row 2: vector: expected"),
        ({"id": ["a", None], "vector": [VECTOR, VECTOR]}, "row 2: "),
        ({"id": ["a"], "vector": [VECTOR], "attributes": ["{"]}, "row 1: attributes"),
        ({"id": ["a"], "vector": [VECTOR], "attributes": ["[]"]}, "row 1: "),
    ],
)
def test_a_bad_column_or_row_of_parquet_is_named(
    run: Run, empty: Path, tmp_path: Path, columns: dict[str, Any], expected: str
) -> None:
    outcome = run("load", empty, _parquet(tmp_path / "items.parquet", columns), "--json")
    assert outcome.code == 1
    assert expected in outcome.err
    assert outcome.json["error"]["type"] == "InputFileError"


def test_parquet_rows_are_counted_over_all_batches(run: Run, empty: Path, tmp_path: Path) -> None:
    ids = [f"{number}" for number in range(2_500)]
    ids[2_200] = ""
    file = _parquet(tmp_path / "items.parquet", {"id": ids, "vector": [VECTOR] * 2_500})
    outcome = run("load", empty, file)
    assert "row 2201: " in outcome.err
    assert "2,000 rows before it are committed" in outcome.err


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_arrays_of_any_float_load_with_their_ids(
    run: Run, empty: Path, tmp_path: Path, dtype: str, newline: str
) -> None:
    vectors = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", np.asfortranarray(vectors.astype(dtype)))
    (tmp_path / "ids.txt").write_bytes(newline.join(["a", "ü", "c d"]).encode())
    arguments = ("load", empty, tmp_path / "vectors.npy", "--ids", tmp_path / "ids.txt", "--json")
    assert run(*arguments).json["inserted"] == 3
    with streamlsh.open(empty) as reader:
        item = reader.get("c d")
    assert item is not None
    np.testing.assert_array_equal(item.vector, vectors[2].astype(np.float32))


@pytest.mark.parametrize(
    ("array", "ids", "expected"),
    [
        (np.ones((2, DIM)), "a\n", "expected 2 ids, one for each vector, received 1"),
        (np.ones((2, DIM)), "a\nb\nc\n", "received 3"),
        (np.ones(DIM), "a\n", "expected shape (n, dim), received (8,)"),
        (np.ones((1, DIM + 1)), "a\n", "expected vectors of 8 numbers, received 9"),
        (np.ones((1, DIM), dtype=np.int8), "a\n", "expected floats, received int8"),
        (np.full((1, DIM), np.inf), "a\n", "row 1: "),
        (np.full((1, DIM), 1e39), "a\n", "row 1: "),
        (np.ones((2, DIM)), "a\n\n", "row 2: "),
        (np.ones((1, DIM)), "a" * 512, "row 1: "),
    ],
)
def test_arrays_and_ids_that_cannot_be_used_are_refused(
    run: Run, empty: Path, tmp_path: Path, array: Any, ids: str, expected: str
) -> None:
    np.save(tmp_path / "vectors.npy", array)
    (tmp_path / "ids.txt").write_text(ids, encoding="utf-8")
    arguments = ("load", empty, tmp_path / "vectors.npy", "--ids", tmp_path / "ids.txt", "--json")
    outcome = run(*arguments)
    assert outcome.code == 1
    assert expected in outcome.err


def test_nothing_in_an_array_file_is_ever_executed(run: Run, empty: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "ids.txt").write_text("a\n", encoding="utf-8")
    outcome = run("load", empty, tmp_path / "vectors.npy", "--ids", tmp_path / "ids.txt")
    assert outcome.code == 1
    assert "expected a .npy file of floats" in outcome.err
