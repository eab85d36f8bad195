"""One target under atheris, in a process of its own: ``python -m tests.fuzz.process``.

libFuzzer ends the process: with 0 if it found nothing, with another code if an input broke the
target, which then lies in a file.
"""

from __future__ import annotations

import pkgutil
import resource
import sys
import warnings
from pathlib import Path

import atheris
import kafka  # noqa: F401 - loaded before warnings are errors, and before code is instrumented
import numpy.lib._format_impl as npy_format

import streamlsh.kernels

RSS_MEGABYTES = 1024
"""More than it had before the first input: of a process that takes in a few kilobytes."""
INPUT_SECONDS = 20
WORD_BYTES = 32
"""Longer ones are no words to put in, but values."""
INPUT_BYTES = 16_384


def main(name: str, seconds: str, corpus: str, artifacts: str) -> None:
    """Fuzz a target.

    Args:
        name: of the target.
        seconds: how long.
        corpus: an empty folder, for seeds and for whatever reaches new code.
        artifacts: folder for an input that breaks the target.
    """
    # numba cannot compile what atheris makes of a function.
    kernels = [
        f"streamlsh.kernels.{m.name}" for m in pkgutil.iter_modules(streamlsh.kernels.__path__)
    ]
    with atheris.instrument_imports(["streamlsh", "streamlsh_kafka", "tests"], kernels):
        from tests.fuzz.strategies import TOKENS
        from tests.fuzz.targets import TARGETS

        target = TARGETS[name]
        seeds = target.seeds()
        target.check(seeds[0])  # loads what is only loaded when it is needed
    for function in ("_read_array_header", "descr_to_dtype"):
        atheris.instrument_func(getattr(npy_format, function))
    words = Path(corpus).with_name("words")
    words.write_text(
        "".join(f"{_quoted(word)}\n" for word in TOKENS if 0 < len(word) <= WORD_BYTES)
    )
    for number, seed in enumerate(seeds):
        Path(corpus, f"seed-{number}").write_bytes(seed)
    warnings.simplefilter("error")
    # The system counts the memory of whoever started this process as its own peak, too.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options = [
        f"-max_total_time={seconds}", f"-artifact_prefix={artifacts}/{name}-",
        f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={before + RSS_MEGABYTES}",
        f"-max_len={INPUT_BYTES}", f"-dict={words}",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, corpus], target.check)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    """A word as libFuzzer's dictionaries hold it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


if __name__ == "__main__":
    main(*sys.argv[1:])
