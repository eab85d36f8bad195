"""Keep a snapshot open until killed: ``python -m tests.integration.pinning PATH``."""

from __future__ import annotations

import sys

import streamlsh

if __name__ == "__main__":
    with streamlsh.open(sys.argv[1]) as reader, reader.snapshot() as snapshot:
        assert len(snapshot)
        print("pinned", flush=True)
        sys.stdin.read()
