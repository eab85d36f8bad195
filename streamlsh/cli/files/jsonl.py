"""JSON Lines: ``{"id", "vector", "version"?, "tags"?, "attributes"?}``, one object a line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files.rows import BATCH_ROWS, Rows, float32, parse_json

_FIELDS = ("id", "vector", "version", "tags", "attributes")
_LINE_BYTES = 8 << 20
_NUMBERS = {int, float}


class JsonLines:
    """A ``.jsonl`` file; its size is in bytes."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self.total = file.seek(0, io.SEEK_END)

    def first_length(self) -> int | None:
        """The length of the first line's vector, ``None`` if there are no lines."""
        self._file.seek(0)
        for place, line in self._lines():
            vector = self._object(line, place)["vector"]
            return len(vector) if isinstance(vector, list) else 0
        return None

    def batches(self, dim: int) -> Iterator[Rows]:
        """All rows in order; lines of white space are passed over."""
        self._file.seek(0)
        rows: list[dict[str, Any]] = []
        places: list[str] = []
        for place, line in self._lines():
            rows.append(self._row(line, place, dim))
            places.append(place)
            if len(rows) == BATCH_ROWS:
                yield self._batch(rows, places)
                rows, places = [], []
        if rows:
            yield self._batch(rows, places)

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        number = 0
        while line := self._file.readline(_LINE_BYTES + 1):
            number += 1
            place = f"line {number}"
            if len(line) > _LINE_BYTES:
                raise self._error(place, f"expected at most {_LINE_BYTES:,} bytes, received more")
            if line.strip():
                yield place, line

    def _row(self, line: bytes, place: str, dim: int) -> dict[str, Any]:
        row = self._object(line, place)
        row["vector"] = self._vector(row["vector"], place, dim)
        return row

    def _object(self, line: bytes, place: str) -> dict[str, Any]:
        """A line's object, which has the fields it must have and no others."""
        try:
            row: Any = parse_json(line.decode("utf-8"))
        except ValueError as error:
            raise self._error(place, f"expected a JSON object in UTF-8, received {error}") from None
        if not isinstance(row, dict):
            raise self._error(place, f"expected a JSON object, received {_kind(row)}")
        unknown = next((name for name in row if name not in _FIELDS), None)
        if unknown is not None:
            raise self._error(
                place, f"expected the fields {', '.join(_FIELDS)}, received {unknown!r}"
            )
        missing = next((name for name in ("id", "vector") if name not in row), None)
        if missing is not None:
            raise self._error(place, f"expected the field {missing!r}, received none")
        fields: dict[str, Any] = row
        return fields

    def _vector(self, vector: Any, place: str, dim: int) -> Any:
        if not isinstance(vector, list) or not _NUMBERS.issuperset(map(type, vector)):
            raise self._error(
                place, "vector: expected an array of numbers, received something else"
            )
        if len(vector) != dim:
            raise self._error(place, f"vector: expected {dim} numbers, received {len(vector)}")
        try:
            return float32(np.array(vector, dtype=np.float64))
        except OverflowError:
            raise self._error(
                place, "vector: expected float32 numbers, received one that is too large"
            ) from None

    def _batch(self, rows: list[dict[str, Any]], places: list[str]) -> Rows:
        return Rows(
            ids=[row["id"] for row in rows],
            vectors=np.stack([row["vector"] for row in rows]),
            versions=[row.get("version") for row in rows],
            tags=[row.get("tags") for row in rows],
            attributes=[row.get("attributes") for row in rows],
            places=places,
            done=self._file.tell(),
        )

    def _error(self, place: str, problem: str) -> InputFileError:
        return InputFileError(str(self._path), problem, place=place)


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
