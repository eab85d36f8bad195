"""``info``, ``verify`` and ``digest``: look at an index as a whole."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

import streamlsh
from streamlsh.cli.output import flattened, print_json, print_lines
from streamlsh.cli.progress import working


def info(options: Namespace) -> None:
    """Print what the index is and how full it is."""
    with streamlsh.open(options.path) as reader:
        facts = reader.info()
    if options.json:
        print_json(facts)
    else:
        print_lines(flattened(facts))


def verify(options: Namespace) -> None:
    """Check every invariant; a broken one is raised as ``CorruptIndexError``."""
    with streamlsh.open(options.path) as reader, working("verifying"):
        report = reader.verify()
    if options.json:
        print_json({"sound": True, **asdict(report)})
        return
    print(f"{options.path} is sound")
    print_lines(asdict(report).items())


def digest(options: Namespace) -> None:
    """Print the hash of the content."""
    with streamlsh.open(options.path) as reader, working("hashing"):
        content = reader.digest()
    if options.json:
        print_json({"digest": content})
    else:
        print(content)
