"""Parquet: the columns ``id``, ``vector``, and optionally ``version``, ``tags``, ``attributes``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from streamlsh.cli.errors import InputFileError
from streamlsh.cli.files.rows import BATCH_ROWS, Rows, float32, parse_json
from streamlsh.config import MAX_DIM


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _least_room(kind: Any) -> int:
    """How many values a single null of a type takes: a list of fixed size has all of its own."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _least_room(kind.value_type)
    if pa.types.is_struct(kind):
        return sum(_least_room(kind.field(place).type) for place in range(kind.num_fields))
    if pa.types.is_fixed_size_binary(kind):
        return int(kind.byte_width)
    return _least_room(kind.value_type) if _is_list(kind) else 1


_COLUMNS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("strings", _is_text),
    "vector": ("lists of floats", lambda kind: _is_list(kind) and _is_float(kind.value_type)),
    "version": ("integers", lambda kind: bool(pa.types.is_integer(kind))),
    "tags": ("lists of strings", lambda kind: _is_list(kind) and _is_text(kind.value_type)),
    "attributes": (
        "structs or JSON strings",
        lambda kind: _is_text(kind) or bool(pa.types.is_struct(kind)),
    ),
}


def _is_float(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind))


class Parquet:
    """A ``.parquet`` file; its size is in rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._reading():
            self._file = pq.ParquetFile(path)
            self.total = int(self._file.metadata.num_rows)
            schema = self._file.schema_arrow
        self._check(schema)

    def _check(self, schema: Any) -> None:
        names = list(schema.names)
        for name in names:
            if name not in _COLUMNS:
                raise self._error(f"expected the columns {', '.join(_COLUMNS)}, received {name!r}")
            if names.count(name) > 1:
                raise self._error(f"expected one column {name!r}, received {names.count(name)}")
            kind, accepts = _COLUMNS[name]
            if not accepts(schema.field(name).type):
                raise self._error(f"{name}: expected {kind}, received {schema.field(name).type}")
            if _least_room(schema.field(name).type) > MAX_DIM:
                raise self._error(
                    f"{name}: expected lists of at most {MAX_DIM} values, received "
                    f"{schema.field(name).type}"
                )
        for name in ("id", "vector"):
            if name not in names:
                raise self._error(f"expected the column {name!r}, received none")

    def first_length(self) -> int | None:
        """The length of the first row's vector, ``None`` if there are no rows."""
        with self._reading():
            for batch in self._file.iter_batches(batch_size=1, columns=["vector"]):
                batch.validate(full=True)
                first = batch.columns[0][0]
                return len(first) if first.is_valid else 0
        return None

    def batches(self, dim: int) -> Iterator[Rows]:
        """All rows in order."""
        done = 0
        with self._reading():
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS):
                # Parquet promises UTF-8 and sound offsets; damage would surface much later.
                batch.validate(full=True)
                if batch.num_rows:
                    yield self._rows(batch, done, dim)
                done += batch.num_rows

    def _rows(self, batch: Any, done: int, dim: int) -> Rows:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        places = [f"row {done + row + 1}" for row in range(batch.num_rows)]
        return Rows(
            ids=columns["id"].to_pylist(),
            vectors=self._vectors(columns["vector"], places, dim),
            versions=columns["version"].to_pylist() if "version" in columns else None,
            tags=columns["tags"].to_pylist() if "tags" in columns else None,
            attributes=(
                self._attributes(columns["attributes"], places) if "attributes" in columns else None
            ),
            places=places,
            done=done + batch.num_rows,
        )

    def _vectors(self, column: Any, places: list[str], dim: int) -> npt.NDArray[np.float32]:
        lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(lengths != dim)
        if wrong.size:
            row = int(wrong[0])
            received = "null" if lengths[row] < 0 else f"{lengths[row]}"
            raise self._error(f"vector: expected {dim} numbers, received {received}", places[row])
        values = column.flatten()
        if values.null_count:
            row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // dim
            raise self._error("vector: expected numbers, received null", places[row])
        return float32(values.to_numpy(zero_copy_only=False)).reshape(len(places), dim)

    def _attributes(self, column: Any, places: list[str]) -> list[Any]:
        if not _is_text(column.type):
            return list(column.to_pylist())
        values = []
        for text, place in zip(column.to_pylist(), places, strict=True):
            try:
                values.append(None if text is None else parse_json(text))
            except ValueError as error:
                problem = f"attributes: expected a JSON object, received {error}"
                raise self._error(problem, place) from None
        return values

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what pyarrow raises on damaged files into one kind of error."""
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise self._error(f"expected a sound Parquet file, received {error}") from None

    def _error(self, problem: str, place: str = "") -> InputFileError:
        return InputFileError(str(self._path), problem, place=place)
