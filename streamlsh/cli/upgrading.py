"""``upgrade``: a copy of an older index in the current format."""

from __future__ import annotations

from argparse import Namespace

import streamlsh
from streamlsh.cli.output import print_json, printable
from streamlsh.cli.progress import sharing


def upgrade(options: Namespace) -> None:
    """Copy an index into the current format."""
    with sharing("upgrading") as advance:
        streamlsh.upgrade(
            options.path, options.new, progress=lambda done, ids: advance(done / ids, "items")
        )
    with streamlsh.open(options.new) as reader:
        items, form = len(reader), reader.info()["format"]
    if options.json:
        print_json({"path": options.new, "items": items, "format": form})
    else:
        print(f"wrote {items:,} items to {printable(options.new)}, format {form}")
        print(f"{printable(options.path)} is as it was; move the new one into its place")
