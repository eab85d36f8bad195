"""``info``, ``verify``, ``digest``: look at an index as a whole; ``warm``: at none."""

from __future__ import annotations

import time
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


def warm(options: Namespace) -> None:
    """Compile the kernels."""
    started = time.perf_counter()
    with working("compiling"):
        streamlsh.warm()
    seconds = time.perf_counter() - started
    if options.json:
        print_json({"seconds": seconds})
    else:
        print(f"the kernels are ready, after {seconds:.1f} s")
