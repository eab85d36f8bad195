"""From a file's ending to the module that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from streamlsh.cli.errors import MissingExtraError, UsageError
from streamlsh.cli.files.arrays import ArrayWithIds
from streamlsh.cli.files.jsonl import JsonLines
from streamlsh.cli.files.rows import RowSource


@contextmanager
def open_rows(path: Path, ids: Path | None) -> Iterator[RowSource]:
    """Open a file of items.

    Args:
        path: a ``.jsonl``, ``.parquet`` or ``.npy`` file.
        ids: the ids of a ``.npy`` file's rows, one a line.

    Raises:
        UsageError: the ending is unknown, or ids are missing or given for nothing.
        InputFileError: the file cannot be used.
        MissingExtraError: the file is Parquet and pyarrow is not installed.
        OSError: the file cannot be opened.
    """
    if path.suffix == ".npy":
        if ids is None:
            raise UsageError(
                f"{path} holds vectors only", next_step="add --ids FILE, one id a line"
            )
        with ids.open("rb") as lines:
            yield ArrayWithIds(path, lines, ids)
        return
    if ids is not None:
        raise UsageError(f"--ids goes with a .npy file, received {path}", next_step="leave it out")
    with path.open("rb") as file:
        if path.suffix == ".jsonl":
            yield JsonLines(file, path)
        elif path.suffix == ".parquet":
            yield _parquet(path)
        else:
            raise UsageError(f"{path}: expected a name ending in .jsonl, .parquet or .npy")


def _parquet(path: Path) -> RowSource:
    # pyarrow is an extra and slow to import: only who loads Parquet needs it.
    try:
        module = import_module("streamlsh.cli.files.parquet")
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError(
            "Parquet files need the package pyarrow", next_step="pip install 'streamlsh[parquet]'"
        ) from None
    source: RowSource = module.Parquet(path)
    return source
