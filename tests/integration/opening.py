"""Open an index and check it: ``python -m tests.integration.opening PATH``; prints the error."""

from __future__ import annotations

import sys

import streamlsh

if __name__ == "__main__":
    try:
        with streamlsh.open(sys.argv[1]) as reader:
            reader.verify()
            print(len(reader))
    except streamlsh.StreamLSHError as error:
        print(type(error).__name__)
