"""Bringing an index of an older format up to date: read as it was written, written anew.

Format 1 kept ids in records by slot, sketches of up to 512 bits, and chose cells by integer
distances; format 2 chose them by exact ones. Format 3 gives slots out again and keeps the content's
sums. So every item is hashed again, from its stored vector, by the same trained family.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np

from streamlsh.config import DEFAULT_MAP_SIZE, IndexConfig
from streamlsh.errors import CorruptIndexError, CurrentFormatError, IndexNotFoundError
from streamlsh.families.base import Family
from streamlsh.families.hyperplane import WIDTH, Hyperplane
from streamlsh.families.registry import family_named
from streamlsh.families.voronoi import Voronoi
from streamlsh.storage.failures import storage_errors
from streamlsh.storage.opening import create_index, unpack_array
from streamlsh.storage.rows import default_block_shift
from streamlsh.storage.schema import FORMAT, FORMAT_VERSION, ITEM, NO_SLOT, NO_VERSION, PAD
from streamlsh.updates import Delete, Position, Upsert, unpack_extras
from streamlsh.writing import writer

BATCH = 2000
_DATABASES = ("meta", "family", "positions", "items", "blocks", "strips")
_RECORDS = {1: "slots", 2: "extras"}
"""Where each older format keeps tags and attributes."""
_STRIP_SHIFT = 5

Progress = Callable[[int, int], None]
"""Called with the ids that are done and all there are."""


def upgrade(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    map_size: int = DEFAULT_MAP_SIZE,
    progress: Progress | None = None,
) -> None:
    """Write a copy of an index of an older format in the current one.

    Items, versions, tags, attributes, delete markers and source positions are taken over; a
    consumer goes on from there. The old index is only read and should not be written to
    meanwhile. Delete markers are as if their items had been deleted now.

    Args:
        old: directory of the index to read.
        new: a directory that does not exist yet, or is empty.
        map_size: as in ``create``.
        progress: told how far it is.

    Raises:
        IndexNotFoundError: no index at ``old``.
        CurrentFormatError: it has the current format, or a newer one, already.
        CorruptIndexError: it cannot be read.
        IndexExistsError: there is something at ``new``.
        StorageError: the storage refused.
    """
    directory = Path(old).resolve()
    if not (directory / "data.mdb").is_file():
        raise IndexNotFoundError(f"no index at {directory}", path=str(directory))
    with (
        storage_errors(directory),
        lmdb.open(str(directory), max_dbs=32, readonly=True, create=False, map_size=0) as handle,
    ):
        try:
            source = _Older(directory, handle)
            create_index(new, source.config, source.family, map_size)
            # What was in the old map may fill the new one: nothing is ingested here.
            with writer(new, map_limit=1.0) as updates:
                for done, batch in source.updates():
                    updates.stage(batch)
                    updates.commit()
                    if progress:
                        progress(done, source.ids)
                updates.commit(source.positions)
        except (ValueError, TypeError, KeyError, lmdb.NotFoundError) as error:
            raise CorruptIndexError(
                f"{directory} cannot be read as an index of an older format",
                expected="sound records", received=f"{type(error).__name__}: {error}",
            ) from error  # fmt: skip


class _Older:
    """An index as format 1 or 2 laid it out."""

    def __init__(self, directory: Path, handle: lmdb.Environment) -> None:
        self._handle = handle
        self._databases: dict[str, Any] = {"meta": handle.open_db(b"meta", create=False)}
        meta = self._databases["meta"]
        with handle.begin(buffers=True) as transaction:
            (self._format,) = FORMAT.unpack(_value(transaction, meta, b"format"))
        if self._format not in _RECORDS:
            raise CurrentFormatError(
                f"{directory} needs no upgrade", expected="format 1 or 2",
                received=f"format {self._format}; the current one is {FORMAT_VERSION}",
            )  # fmt: skip
        for name in (*_DATABASES, _RECORDS[self._format]):
            self._databases[name] = handle.open_db(name.encode(), create=False)
        with handle.begin(buffers=True) as transaction:
            self.ids = transaction.stat(self._databases["items"])["entries"]
            fields = msgpack.unpackb(_value(transaction, meta, b"config"))
            arrays = {
                bytes(name).decode(): unpack_array(bytes(value))
                for name, value in transaction.cursor(self._databases["family"])
            }
            self.positions = [
                Position(bytes(key[4:]).decode(), int.from_bytes(key[:4], "big"), *fields_of)
                for key, value in transaction.cursor(self._databases["positions"])
                for fields_of in [msgpack.unpackb(value)]
            ]
        self._dim: int = fields["dim"]
        self._shift: int = fields["block_shift"]
        self.family = _family(self._format, fields, arrays)
        fields["block_shift"] = default_block_shift(self._dim)
        self.config = IndexConfig(**fields | {"parameters": self.family.parameters()})

    def updates(self) -> Iterator[tuple[int, list[Upsert | Delete]]]:
        """Updates that make the same items and markers, and how many ids are done by then."""
        batch: list[Upsert | Delete] = []
        with self._handle.begin(buffers=True) as transaction:
            cursor = transaction.cursor(self._databases["items"])
            for done, (key, value) in enumerate(cursor, 1):
                batch.append(self._update(transaction, bytes(key), value))
                if len(batch) == BATCH or done == self.ids:
                    yield done, batch
                    batch = []

    def _update(
        self, transaction: lmdb.Transaction, key: bytes, value: memoryview
    ) -> Upsert | Delete:
        slot, version = ITEM.unpack_from(value)
        if slot == NO_SLOT:
            return Delete(key.decode(), version)
        tags, attributes = unpack_extras(self._extras(transaction, key, slot))
        row = slot & ((1 << self._shift) - 1)
        block = transaction.get(
            (slot >> self._shift).to_bytes(4, "big"), db=self._databases["blocks"]
        )
        if block is None:
            row = slot & ((1 << _STRIP_SHIFT) - 1)
            strip = (slot >> _STRIP_SHIFT).to_bytes(4, "big")
            block = _value(transaction, self._databases["strips"], strip)
        vector = np.frombuffer(block, np.float32, self._dim, PAD + 4 * self._dim * row).copy()
        return Upsert(
            key.decode(), vector, None if version == NO_VERSION else version, tags, attributes
        )

    def _extras(self, transaction: lmdb.Transaction, key: bytes, slot: int) -> bytes:
        number, records = slot.to_bytes(4, "big"), self._databases[_RECORDS[self._format]]
        if self._format == 1:
            return bytes(_value(transaction, records, number))[2 + len(key) :]
        return bytes(transaction.get(number, b"", db=records))


def _value(transaction: lmdb.Transaction, database: lmdb._Database, key: bytes) -> memoryview:
    """The value of a key.

    Raises:
        KeyError: it is not there.
    """
    value = transaction.get(key, db=database)
    if value is None:
        raise KeyError(f"no value at key {key.hex()}")
    return memoryview(value)


def _family(version: int, fields: dict[str, Any], arrays: dict[str, Any]) -> Family:
    """The family as today's: of format 1 with its own arrays as far as they still fit."""
    dim, metric, parameters = fields["dim"], fields["metric"], fields["parameters"]
    if version == 2:
        return family_named(fields["family"]).restore(dim, metric, parameters, arrays)
    if fields["family"] == Voronoi.name:
        arrays["first_cells"] = np.array([0, len(arrays["centres"])], np.int64)
        return Voronoi.restore(dim, metric, parameters, arrays)
    if arrays["frame"].shape[1] == WIDTH:
        return Hyperplane.restore(dim, metric, parameters, arrays)
    # More than 256 directions were drawn: today's fewer come from the same seed.
    return Hyperplane.fit(dim, metric, fields["seed"], None, parameters)
