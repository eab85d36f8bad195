"""``python -m streamlsh.datasets FILE.jsonl``: the shipped sample as a file to load."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from streamlsh.datasets import glosses


def main(arguments: list[str]) -> int:
    """Write the sample as JSON Lines, one item a line, the text among its attributes."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m streamlsh.datasets FILE.jsonl\n")
        return 2
    sample = glosses()
    with Path(arguments[0]).open("w", encoding="utf-8") as file:
        for item, vector, text in zip(sample.ids, sample.vectors, sample.texts, strict=True):
            row = {"id": item, "vector": vector.tolist(), "attributes": {"text": text}}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    sys.stdout.write(f"wrote {len(sample):,} glosses to {arguments[0]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
