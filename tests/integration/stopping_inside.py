"""Begin a write transaction and wait: ``python -m tests.integration.stopping_inside PATH``."""

from __future__ import annotations

import sys

import streamlsh

if __name__ == "__main__":
    with streamlsh.writer(sys.argv[1]) as writer:
        with writer._index.environment.write():
            print("inside", flush=True)
            sys.stdin.readline()
        print("outside", flush=True)
