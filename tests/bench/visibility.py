"""From produced to visible: the delay that another process sees while updates stream in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import streamlsh
from tests.bench.dataset import F32, Dataset
from tests.bench.figures import Figure, Spread, Target, within
from tests.bench.workbench import Workbench

GROUP = "visible"
MEANING = """\
Four processes: the broker, a producer that sends replacements of existing items at a steady rate
and stamps each just before it hands it to its client, `streamlsh-kafka run` on the index of all
items, and a reader (the benchmark itself) that looks at the index every half millisecond. An
update counts as visible once the reader's snapshot has passed its offset and the newest of the
updates that appeared was really read back and compared. The delay is from the stamp to there, of
every update of ten seconds; one second before them warms up. Percentiles of each run; the row
shows the median of the runs, the spread theirs."""

RATES = (1_000, 5_000)
SECONDS = 10
WARM_SECONDS = 1
PRIME_RATE, PRIME_COUNT = 200, 100
POLL_SECONDS = 0.0005
PATIENCE_SECONDS = 60.0
NOISE = 0.05
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Delays:
    """What one run at one rate saw, warm-up left out.

    Attributes:
        p50: milliseconds.
        p99: milliseconds.
        worst: milliseconds.
        rate: updates a second that the producer really sent.
        batch: updates a commit, on average.
    """

    p50: float
    p99: float
    worst: float
    rate: float
    batch: float


class Stream:
    """Updates that follow each other on one topic, seen through one reader.

    Args:
        dataset: the items that the index holds.
        reader: of that index.
        servers: the broker.
        topic: one that only this stream is produced to.
        folder: scratch space for what goes to the producer.
    """

    def __init__(
        self, dataset: Dataset, reader: streamlsh.Reader, servers: str, topic: str, folder: Path
    ) -> None:
        self._dataset = dataset
        self._reader = reader
        self._servers = servers
        self._topic = topic
        self._folder = folder
        self._next = 0
        self._order = np.random.default_rng(2).permutation(len(dataset))

    def run(self, rate: int, count: int, consumer: subprocess.Popen[bytes]) -> Delays:
        """Produce the next ``count`` updates at a rate, and watch them appear.

        Raises:
            TimeoutError: they do not appear, or a process ended.
        """
        ids, vectors = self._replacements(count)
        folder = self._folder / f"from-{self._next}"
        folder.mkdir()
        (folder / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "stamps.npy", np.zeros(count))
        commit = self._reader.commit
        command = [sys.executable, "-m", "tests.bench.paced"]
        command += [self._servers, self._topic, str(rate), str(folder)]
        with subprocess.Popen(command, cwd=ROOT) as producer:
            try:
                visible = self._watch(ids, vectors, count / rate, (producer, consumer))
            except BaseException:
                producer.kill()
                raise
        sent = np.load(folder / "stamps.npy")
        shutil.rmtree(folder)
        commits = self._reader.commit - commit
        self._next += count
        milliseconds = 1_000 * (visible - sent)[min(WARM_SECONDS * rate, count - 1) :]
        p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
        return Delays(
            p50,
            p99,
            float(milliseconds.max()),
            (count - 1) / float(sent[-1] - sent[0]),
            count / commits,
        )

    def _replacements(self, count: int) -> tuple[list[str], F32]:
        """The next items in a random order, each with a vector near the one it had at first."""
        rows = self._order[np.arange(self._next, self._next + count) % len(self._order)]
        rng = np.random.default_rng(self._next)
        shift = rng.standard_normal((count, self._dataset.dim), dtype=np.float32)
        vectors = self._dataset.items[rows] + shift * np.float32(NOISE / self._dataset.dim**0.5)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return [self._dataset.ids[row] for row in rows.tolist()], vectors

    def _watch(
        self,
        ids: list[str],
        vectors: F32,
        seconds: float,
        processes: tuple[subprocess.Popen[bytes], ...],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """When each update became visible, on the monotonic clock."""
        count, seen = len(ids), 0
        visible = np.zeros(count)
        key = (self._topic, 0)
        deadline = time.monotonic() + seconds + PATIENCE_SECONDS
        while seen < count:
            with self._reader.snapshot() as snapshot:
                position = snapshot.positions.get(key)
                reached = 0 if position is None else position.offset - self._next
                if reached > seen:
                    item = snapshot.get(ids[reached - 1])
                    if item is None or not np.array_equal(item.vector, vectors[reached - 1]):
                        raise AssertionError(f"offset {self._next + reached - 1}: read {item}")
            now = time.monotonic()
            if reached > seen:
                visible[seen:reached] = now
                seen = reached
            elif now > deadline or any(process.poll() for process in processes):
                raise TimeoutError(f"only {seen} of {count} updates appeared")
            time.sleep(POLL_SECONDS)
        return visible


def measure(bench: Workbench) -> list[Figure]:
    """Run each rate in turn, as often as repeats say."""
    runs: dict[int, list[Delays]] = {rate: [] for rate in RATES}
    broker, loaded = bench.broker, bench.loaded
    path = bench.copy(loaded.path, "followed")
    with ExitStack() as stack:
        topic = stack.enter_context(bench.topic())
        reader = stack.enter_context(streamlsh.open(path))
        consumer = stack.enter_context(_consumer(path, topic, broker.bootstrap_servers))
        stream = Stream(bench.dataset, reader, broker.bootstrap_servers, topic, bench.folder)
        stream.run(PRIME_RATE, PRIME_COUNT, consumer)
        advance = stack.enter_context(
            bench.bars.bar("produced to visible", bench.repeats * len(RATES))
        )
        for _ in range(bench.repeats):
            for rate in RATES:
                count = rate * (WARM_SECONDS + SECONDS)
                runs[rate].append(stream.run(rate, count, consumer))
                advance(1)
    shutil.rmtree(path)
    slow, fast = RATES
    return [
        *_rows(slow, runs[slow], {"p50": within(30, "ms"), "p99": within(150, "ms")}, {}),
        *_rows(fast, runs[fast], {}, {"p50": within(20, "ms"), "p99": within(100, "ms")}),
    ]


def _rows(
    rate: int, runs: list[Delays], floors: dict[str, Target], goals: dict[str, Target]
) -> Iterator[Figure]:
    sent = float(np.median([run.rate for run in runs]))
    batch = float(np.median([run.batch for run in runs]))
    samples = {
        "p50": [run.p50 for run in runs],
        "p99": [run.p99 for run in runs],
        "max": [run.worst for run in runs],
    }
    for name, values in samples.items():
        spread = Spread.of(values)
        yield Figure(
            GROUP,
            f"produced to visible in a second process, {rate:,} updates/s, {name}",
            "ms",
            spread.middle,
            spread,
            floor=floors.get(name),
            goal=goals.get(name),
            note=f"sent at {sent:,.0f}/s, {batch:.1f} updates a commit",
            details={"rate": rate, "sent_per_second": sent, "updates_per_commit": batch},
        )


@contextmanager
def _consumer(path: Path, topic: str, servers: str) -> Iterator[subprocess.Popen[bytes]]:
    """``streamlsh-kafka run`` with its defaults; its log is shown if the block fails."""
    command = [sys.executable, "-m", "streamlsh_kafka", "run", str(path)]
    command += ["--topic", topic, "--bootstrap-servers", servers]
    log = path.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=file)
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
        raise
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
