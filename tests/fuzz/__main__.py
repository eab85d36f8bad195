"""``python -m tests.fuzz``: bytes from outside, guided by the code that they reach."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.targets import TARGETS

SECONDS = 60
STARTING_SECONDS = 120
"""What a target may take beyond its share: to load, and to end."""
FOLDER = Path("fuzz-crashes")
EPILOG = """\
examples:
  python -m tests.fuzz                                       every target, a minute in all
  python -m tests.fuzz --seconds 600 json jsonl              two targets, five minutes each
  python -m tests.fuzz --replay fuzz-crashes/json-crash-1f json    one input again, with its trace

Each target takes bytes as they may come from outside and checks that they end in success or in one
of the project's typed errors: no other exception, no warning, no endless loop, no gigabyte for a
few bytes. It begins with seeds that are made by code, so nothing needs to be kept between runs.
An input that breaks a target is written to a file in --crashes, with the command that replays it.

Exit code 0 if nothing was found; 1 if something was; 2 for wrong arguments, or without atheris.
"""
MISSING = """\
atheris is not installed. It is an extra, for Linux on x86-64 and Python up to 3.13:
  pip install 'streamlsh[fuzz]'     (or: make setup)
"""


def main(arguments: list[str]) -> int:
    """Run what was asked for; return the exit code."""
    options = new_parser().parse_args(arguments)
    names: list[str] = options.targets or list(TARGETS)
    if options.replay is not None:
        return _replay(options.replay, names[0] if len(options.targets) == 1 else None)
    if find_spec("atheris") is None:
        sys.stderr.write(MISSING)
        return 2
    share = max(options.seconds // len(names), 1)
    found = [name for name in names if _fuzz(name, share, options.crashes)]
    sound = len(names) - len(found)
    print(f"{sound} of {len(names)} targets held" + (f"; not {', '.join(found)}" if found else ""))
    return int(bool(found))


def new_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    width = max(map(len, TARGETS))
    listed = "\n".join(
        f"  {name:{width}}  {(target.check.__doc__ or '').strip()}"
        for name, target in TARGETS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz everything that takes bytes from outside.",
        epilog=f"targets:\n{listed}\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "targets", metavar="TARGET", nargs="*", type=_target, help="(default: every one)"
    )
    parser.add_argument(
        "--seconds", metavar="N", type=_positive, default=SECONDS,
        help="in all, shared between the targets; one second each at least (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--crashes", metavar="FOLDER", type=Path, default=FOLDER,
        help="where inputs go that break a target (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--replay", metavar="FILE", type=Path,
        help="give the bytes of a file to the one target that is named",
    )  # fmt: skip
    return parser


def _fuzz(name: str, seconds: int, crashes: Path) -> bool:
    """Fuzz a target; whether it was broken."""
    crashes.mkdir(parents=True, exist_ok=True)
    known = set(crashes.iterdir())
    with tempfile.TemporaryDirectory(prefix="streamlsh-fuzz-") as scratch:
        corpus = Path(scratch, "corpus")
        corpus.mkdir()
        command = [sys.executable, "-m", "tests.fuzz.process", name, str(seconds)]
        ended = subprocess.run(
            [*command, str(corpus), str(crashes)], capture_output=True, text=True, errors="replace",
            timeout=seconds + STARTING_SECONDS, check=False,
            env=os.environ | {"TMPDIR": scratch},
        )  # fmt: skip
    if ended.returncode == 0:
        print(f"{name}: {_summary(ended.stderr)}", flush=True)
        return False
    print(re.sub(r"(?m)^(INFO|WARNING|#\d+\t).*\n", "", ended.stdout + ended.stderr))
    print(f"{name}: BROKEN (exit code {ended.returncode})")
    new = sorted(set(crashes.iterdir()) - known)
    for path in new:
        print(f"  replay: {sys.executable} -m tests.fuzz --replay {path} {name}")
    if not new:
        print("  libFuzzer wrote no input: what it said stands above")
    sys.stdout.flush()
    return True


def _summary(said: str) -> str:
    """How many inputs were tried and what they reached, from libFuzzer's own report."""
    runs = re.search(r"Done (\d+) runs in (\d+) second", said)
    reached = re.findall(r"cov: (\d+)", said)
    if runs is None or not reached:
        return "held"
    return f"held, {int(runs[1]):,} inputs in {runs[2]} s, {reached[-1]} places in the code reached"


def _replay(path: Path, name: str | None) -> int:
    if name is None:
        sys.stderr.write("--replay needs the name of one target\n")
        return 2
    with warnings.catch_warnings(action="error"):
        TARGETS[name].check(path.read_bytes())
    print(f"{name}: held")
    return 0


def _target(text: str) -> str:
    if text not in TARGETS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(TARGETS)}, received {text!r}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, received {number}")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
