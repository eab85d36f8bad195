"""What can be expected to go wrong is one line with the next step, and never a traceback."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from tests.unit.cli.conftest import DIM, PROGRAM, Run


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["info", "verify", "digest"])
def test_a_missing_index_is_said_with_the_way_to_make_one(
    run: Run, tmp_path: Path, command: str
) -> None:
    outcome = run(command, tmp_path / "missing.index", "--json")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "streamlsh create" in outcome.err
    assert outcome.json["error"]["type"] == "IndexNotFoundError"


def test_an_index_is_never_made_over_another(run: Run, index: Path) -> None:
    outcome = run("create", index, "--dim", DIM, "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == "IndexExistsError"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--dim", 0], "DimensionError"),
        (["--dim", DIM, "--metric", "hamming"], "UnknownMetricError"),
        (["--dim", DIM, "--family", "grid"], "UnknownFamilyError"),
        (["--dim", DIM, "--family", "voronoi"], "SampleError"),
        (["--dim", DIM, "--bits", 0], "FamilyParameterError"),
        (["--dim", DIM, "--cells", 8], "FamilyParameterError"),
    ],
)
def test_what_create_cannot_use_is_a_typed_error(
    run: Run, tmp_path: Path, arguments: list[object], kind: str
) -> None:
    outcome = run("create", tmp_path / "new.index", *arguments, "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == kind
    assert not (tmp_path / "new.index").exists()


def test_a_second_writer_is_told_of_the_first(index: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "items.jsonl", "")
    with streamlsh.writer(index):
        outcome = subprocess.run(
            [*PROGRAM, "load", index, file],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: another writer")
    assert outcome.stderr.count("\n") == 1


def test_a_vector_of_the_wrong_length_says_both_lengths(
    run: Run, index: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "query.npy", np.ones(DIM + 1))
    outcome = run("search", index, "--vector", tmp_path / "query.npy", "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == "DimensionError"
    assert str(DIM) in outcome.err
    assert str(DIM + 1) in outcome.err


def test_a_missing_file_is_named(run: Run, index: Path, tmp_path: Path) -> None:
    outcome = run("load", index, tmp_path / "missing.jsonl", "--json")
    assert outcome.code == 1
    assert "missing.jsonl" in outcome.err
    assert outcome.json["error"]["type"] == "FileNotFoundError"


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("items.csv", [], ".jsonl, .parquet or .npy"),
        ("items.npy", [], "--ids"),
        ("items.jsonl", ["--ids", "ids.txt"], "--ids"),
    ],
)
def test_a_load_that_makes_no_sense_exits_with_2(
    run: Run, index: Path, tmp_path: Path, name: str, extra: list[str], expected: str
) -> None:
    outcome = run("load", index, _write(tmp_path / name, ""), *extra)
    assert outcome.code == 2
    assert expected in outcome.err


def test_a_reader_that_closes_the_pipe_gets_no_traceback(index: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        outcome = subprocess.run(
            [*PROGRAM, "get", index, "item-01", "--json"],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write_end)
    assert outcome.returncode == 1
    assert outcome.stderr == ""


def test_an_interrupted_load_says_how_much_is_committed(
    run: Run, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who starts tests in the background may have told them to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).standard_normal((5_000, DIM)))
    _write(tmp_path / "ids.txt", "".join(f"{number}\n" for number in range(5_000)))
    commit = streamlsh.Writer.commit
    commits = 0

    def commit_and_interrupt(writer: streamlsh.Writer) -> streamlsh.CommitResult:
        nonlocal commits
        commits += 1
        if commits == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return commit(writer)

    monkeypatch.setattr(streamlsh.Writer, "commit", commit_and_interrupt)
    outcome = run("load", empty, tmp_path / "vectors.npy", "--ids", tmp_path / "ids.txt", "--json")
    assert outcome.code == 130
    assert "2,000 rows" in outcome.json["error"]["message"]
    with streamlsh.open(empty) as reader:
        assert len(reader) == 2_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
