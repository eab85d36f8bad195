"""NumPy arrays: ``.npy`` files of float vectors, and text files with the ids of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files.rows import BATCH_ROWS, Rows, float32
from streamlsh.datasets.arrays import map_array
from streamlsh.errors import InvalidInputError

_ID_LINE_BYTES = 64 << 10


def open_array(path: Path) -> npt.NDArray[Any]:
    """Map a ``.npy`` file of floats into memory; nothing in it is ever executed.

    Raises:
        InputFileError: it is no such file, or it holds something else than floats.
        OSError: it cannot be opened.
    """
    try:
        return map_array(path, "f", "floats")
    except InvalidInputError as error:
        problem = f"expected {error.expected}, received {error.received}"
        raise InputFileError(str(path), problem) from None


class ArrayWithIds:
    """A ``.npy`` file and the ids of its rows; its size is in rows."""

    def __init__(self, array_path: Path, ids: IO[bytes], ids_path: Path) -> None:
        self._vectors = open_array(array_path)
        self._array_path = array_path
        self._ids = ids
        self._ids_path = ids_path
        if self._vectors.ndim != 2:
            raise InputFileError(
                str(array_path), f"expected shape (n, dim), received {self._vectors.shape}"
            )
        self.total = len(self._vectors)
        found = sum(1 for _ in self._id_lines())
        if found != self.total:
            raise InputFileError(
                str(ids_path),
                f"expected {self.total:,} ids, one for each vector, received {found:,}",
            )

    def first_length(self) -> int | None:
        """The length of every vector."""
        return int(self._vectors.shape[1])

    def batches(self, dim: int) -> Iterator[Rows]:
        """All rows in order."""
        if self._vectors.shape[1] != dim:
            raise InputFileError(
                str(self._array_path),
                f"expected vectors of {dim} numbers, received {self._vectors.shape[1]}",
            )
        lines = self._id_lines()
        for start in range(0, self.total, BATCH_ROWS):
            rows = float32(self._vectors[start : start + BATCH_ROWS])
            yield Rows(
                ids=list(islice(lines, len(rows))),
                vectors=rows,
                versions=None,
                tags=None,
                attributes=None,
                places=[f"row {start + row + 1}" for row in range(len(rows))],
                done=start + len(rows),
            )

    def _id_lines(self) -> Iterator[str]:
        self._ids.seek(0)
        number = 0
        while line := self._ids.readline(_ID_LINE_BYTES):
            number += 1
            try:
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError as error:
                raise InputFileError(
                    str(self._ids_path), f"expected UTF-8, received {error}", place=f"line {number}"
                ) from None
