"""``export``: all items as JSON Lines."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import TextIO

import streamlsh
from streamlsh.cli.errors import UsageError
from streamlsh.cli.items import item_fields
from streamlsh.cli.output import print_json, printable
from streamlsh.cli.progress import progress

_PROGRESS_EVERY = 500


def export(options: Namespace) -> None:
    """Write every item of one snapshot, sorted by id; the file appears when it is complete."""
    out = Path(options.out)
    if out.suffix != ".jsonl":
        raise UsageError(f"{out}: expected a name ending in .jsonl, the format that is written")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with streamlsh.open(options.path) as reader, reader.snapshot() as snapshot:
            commit = snapshot.commit
            items = _write(snapshot, unfinished, options.out)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    if options.json:
        print_json({"path": options.out, "items": items, "commit": commit})
    else:
        print(f"wrote {items:,} items of commit {commit} to {printable(options.out)}")


def _write(snapshot: streamlsh.Snapshot, path: Path, name: str) -> int:
    count = 0
    with (
        _create(path, name) as file,
        progress(f"writing {name}", len(snapshot)) as advance,
    ):
        for count, item in enumerate(snapshot.items(), start=1):
            file.write(json.dumps(item_fields(item), ensure_ascii=False) + "\n")
            if count % _PROGRESS_EVERY == 0:
                advance(count)
    return count


def _create(path: Path, name: str) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        # The name that was typed, not the one in use until the file is complete.
        raise OSError(error.errno, error.strerror, name) from error
