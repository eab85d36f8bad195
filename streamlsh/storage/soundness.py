"""Whether a file may be opened at all: its size and its format."""

from __future__ import annotations

from pathlib import Path

import lmdb

from streamlsh.errors import CorruptIndexError, NewerFormatError, OlderFormatError
from streamlsh.storage.schema import FORMAT, FORMAT_KEY, FORMAT_VERSION

_LOOSE_PAGES = 16
"""Pages that a sound file may lack at its end: LMDB never writes the last ones of a commit if it
has freed them again."""


def check_size(data: Path, handle: lmdb.Environment) -> None:
    """Raise ``CorruptIndexError`` if a file was cut short.

    Reading past its end would be no error that can be caught, but the end of the process.
    """
    page = handle.stat()["psize"]
    expected = (handle.info()["last_pgno"] + 1) * page
    size = data.stat().st_size
    if size < expected - _LOOSE_PAGES * page:
        raise CorruptIndexError(
            f"{data} was cut short; restore it from a copy or rebuild it",
            expected=f"{expected} bytes", received=f"{size} bytes",
        )  # fmt: skip


def check_format(directory: Path, handle: lmdb.Environment) -> None:
    """Raise unless an index has the current format; its databases depend on that."""
    meta = handle.open_db(b"meta", create=False)
    with handle.begin() as transaction:
        stored = transaction.get(FORMAT_KEY, db=meta)
    if stored is None or len(stored) != FORMAT.size:
        raise CorruptIndexError(
            f"{directory} is not a complete streamlsh index", expected="a format version",
            received="none",
        )  # fmt: skip
    (version,) = FORMAT.unpack(stored)
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{directory} was written by a later version of streamlsh; update streamlsh to read it",
            expected=f"format {FORMAT_VERSION}", received=f"format {version}",
        )  # fmt: skip
    if version < FORMAT_VERSION:
        raise OlderFormatError(
            f"{directory} was written by an earlier version of streamlsh; make a copy in the "
            f"current format: streamlsh upgrade {directory} NEW",
            expected=f"format {FORMAT_VERSION}", received=f"format {version}",
        )  # fmt: skip
