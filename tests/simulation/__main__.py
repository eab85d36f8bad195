"""``python -m tests.simulation``: play runs until one fails, or all are done."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from multiprocessing.pool import AsyncResult

from tests.simulation.faults import KINDS, SEAMS
from tests.simulation.running import Failure, Tally, play_all, play_part, shorten

CHUNK = 50
"""Runs that a process plays at a time."""

DESCRIPTION = f"""\
Play the consumer's life, thousands of times, with everything that can go wrong.

What is real: the ingest loop, the Kafka source, decoding, batches, dead letters, and the index
itself, written to a file system in memory. What is simulated: the broker with its client
library, the clock, and threads, whose work is done between two calls of the consumer, so that a
seed decides everything and each run can be played again.

A run is a schedule of events, drawn from its seed: records come (good, late, twice, poison, in
transactions), the log is compacted, shortened, truncated, the topic deleted or made anew,
partitions are added, broker or dead-letter topic stay away, the client stalls, clocks jump, the
storage has no room, a second writer takes over, and the process is stopped or dies at any of its
calls ({", ".join(SEAMS)}). After each death it is started again, and in the end everything heals
and the topic is read to its end.

What must hold, at every commit: the index equals the records that the stored positions have
passed, applied to a plain dictionary; no readable record is skipped; poison is passed only with
an acknowledged dead letter; each letter is about a record that was read, once a reading at most;
removed records are passed only if the gap was accepted; nobody writes after being taken over.
And every process ends with the error that the circumstances call for, and no other.
"""

EPILOG = """\
examples:
  python -m tests.simulation --runs 2000              seeds 0 to 1999, on all processors
  python -m tests.simulation --seconds 3600           an hour
  python -m tests.simulation --runs 1 --seed 7 --trace                  all of run 7, call by call
  python -m tests.simulation --runs 1 --seed 7 --keep 2,5 --trace       with two of its events

A failure is shortened by leaving out events as long as the same promise is broken, and then
printed with its trace and the command that plays it again.

Exit code 0 if all held, 1 if something did not, 2 for wrong arguments.
"""


def new_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m tests.simulation", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--runs", type=int, default=None, metavar="N", help="how many (1000 without --seconds)")
    add("--seconds", type=float, default=None, metavar="S", help="begin no run after so long")
    add("--seed", type=int, default=0, metavar="S", help="of the first run; the others follow")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    add("--keep", default=None, metavar="N,N", help="with --runs 1: only these events, or none")
    add("--trace", action="store_true", help="with --runs 1: print what happens, call by call")
    return parser


def main(arguments: list[str]) -> int:
    """Play what was asked for; return the exit code."""
    parser = new_parser()
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    if options.trace or options.keep is not None:
        if options.runs != 1:
            parser.error("--keep and --trace go with --runs 1")
        tally = play_part(options.seed, _numbers(parser, options.keep))
        print("\n".join(tally.trace))
    else:
        tally = _play_many(options)
    _print_tally(tally, time.perf_counter() - started)
    if not tally.failures:
        return 0
    first = min(tally.failures, key=lambda failure: failure.seed)
    shortest = first if options.trace else shorten(first)
    _print_failures(tally.failures, shortest)
    return 1


def _numbers(parser: argparse.ArgumentParser, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [] if text == "none" else [int(number) for number in text.split(",")]
    except ValueError:
        parser.error(f"--keep: expected numbers with commas or none, received {text!r}")


def _play_many(options: argparse.Namespace) -> Tally:
    runs = options.runs or (1_000_000_000 if options.seconds else 1000)
    chunks = (
        range(first, min(first + CHUNK, options.seed + runs))
        for first in range(options.seed, options.seed + runs, CHUNK)
    )
    deadline = time.monotonic() + (options.seconds or float("inf"))
    tally = Tally()
    if options.workers == 1:
        for chunk in chunks:
            tally.add(play_all(chunk))
            if tally.failures or time.monotonic() >= deadline:
                break
        return tally
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        waiting: deque[AsyncResult[Tally]] = deque()
        for chunk in chunks:
            waiting.append(pool.apply_async(play_all, (chunk,)))
            if len(waiting) > options.workers:
                tally.add(waiting.popleft().get())
            if tally.failures or time.monotonic() >= deadline:
                break
        for result in waiting:
            tally.add(result.get())
    return tally


def _print_tally(tally: Tally, seconds: float) -> None:
    met = tally.met
    print(f"{tally.runs} runs in {seconds:.1f} s, {tally.runs / seconds:.1f} runs/s")
    _print_counts("events", {kind: met[kind] for kind in KINDS})
    _print_counts("crashes", _below(met, "crash at "))
    _print_counts("endings of processes", _below(met, "ended by "))
    print(f"indexes begun anew: {met['rebuilt']}")


def _below(met: Counter[str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in met.items() if name.startswith(prefix)}


def _print_counts(title: str, counts: dict[str, int]) -> None:
    print(f"{title}:")
    for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        print(f"  {count:8}  {name}")


def _print_failures(failures: Sequence[Failure], shortest: Failure) -> None:
    kinds = Counter(failure.kind for failure in failures)
    print(f"\n{len(failures)} runs failed: {dict(kinds)}")
    print(f"seed {shortest.seed}: {shortest.message}")
    print(f"{len(shortest.events)} of {shortest.scheduled} events are enough. What happened:\n")
    print("\n".join(shortest.trace))
    print(f"\nplay it again: {shortest.command()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
