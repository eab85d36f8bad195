"""``create`` and ``load``: make an index and fill it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import streamlsh
from streamlsh.cli.errors import InputFileError, LoadInterruptedError
from streamlsh.cli.files import Rows, RowSource, open_rows, read_vectors
from streamlsh.cli.files.arrays import open_array
from streamlsh.cli.files.rows import float32
from streamlsh.cli.interrupt import deferred_interrupt
from streamlsh.cli.output import print_json, print_lines
from streamlsh.cli.progress import progress, working
from streamlsh.errors import InvalidInputError

_FAMILY_PARAMETERS = ("tables", "axes", "bits", "hashes", "bucket_length", "cells")
_OPTIONS = (*_FAMILY_PARAMETERS, "map_size", "delete_retention")
_COUNTS = ("inserted", "replaced", "unchanged", "stale")


def create(options: Namespace) -> None:
    """Make an empty index and say what it is."""
    given = {name: getattr(options, name) for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if options.vectors is not None:
        given["vectors"] = open_array(Path(options.vectors))
    sample = None
    if options.sample is not None:
        sample = float32(read_vectors(Path(options.sample), options.dim))
    with working("making the family"):
        streamlsh.create(
            options.path,
            dim=options.dim,
            metric=options.metric,
            family=options.family,
            sample=sample,
            seed=options.seed,
            **given,
        )
    with streamlsh.open(options.path) as reader:
        config = reader.config
    if options.json:
        print_json(
            {
                "path": options.path,
                "dim": config.dim,
                "metric": config.metric,
                "family": config.family,
                "parameters": dict(config.parameters),
            }
        )
        return
    parameters = ", ".join(f"{name} {_short(value)}" for name, value in config.parameters.items())
    print(
        f"created {options.path}: {config.dim} dimensions, {config.metric}, "
        f"{config.family} ({parameters})"
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def load(options: Namespace) -> None:
    """Insert or replace the items of a file, batch by batch."""
    file = Path(options.file)
    ids = None if options.ids is None else Path(options.ids)
    with open_rows(file, ids) as source, streamlsh.writer(options.path) as writer:
        loaded = _Load(options.file, source, writer)
        loaded.run()
    if options.json:
        print_json({"rows": loaded.rows, **loaded.counts, "commit": loaded.commit})
        return
    print_lines([("rows", loaded.rows), *loaded.counts.items(), ("commit", loaded.commit)])


class _Load:
    """One run over a file: what was committed so far, and the way on."""

    def __init__(self, file: str, source: RowSource, writer: streamlsh.Writer) -> None:
        self._file = file
        self._source = source
        self._writer = writer
        self.rows = 0
        self.commit: int | None = None
        self.counts = dict.fromkeys(_COUNTS, 0)

    def run(self) -> None:
        """Load all batches.

        Raises:
            InputFileError: a row cannot be used; the batches before it are committed.
            LoadInterruptedError: the user asked to stop; the same.
        """
        with (
            deferred_interrupt() as interrupted,
            progress(f"loading {self._file}", self._source.total) as advance,
        ):
            try:
                for rows in self._source.batches(self._writer.config.dim):
                    self._commit(rows)
                    advance(rows.done)
                    if interrupted():
                        raise LoadInterruptedError(
                            f"interrupted; {self.rows:,} rows of {self._file} are committed",
                            next_step="run the same command again to go on",
                        )
            except InputFileError as error:
                error.next_step = (
                    f"{self.rows:,} rows before it are committed, "
                    "so mend it and run the same command again"
                )
                raise

    def _commit(self, rows: Rows) -> None:
        try:
            self._writer.upsert(
                rows.ids,
                rows.vectors,
                versions=rows.versions,
                tags=rows.tags,
                attributes=rows.attributes,
            )
        except InvalidInputError as error:
            row = error.row or 0
            # The batch's row number would mislead beside the file's.
            problem = str(error).replace(f" in row {row}", "", 1)
            raise InputFileError(self._file, problem, place=rows.places[row]) from error
        result = self._writer.commit()
        self.rows += len(rows.ids)
        self.commit = result.commit
        for name in _COUNTS:
            self.counts[name] += getattr(result, name)
