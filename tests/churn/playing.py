"""One peer plays a runbook in a process of its own, so that its memory is its own."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import streamlsh
from tests.bench.choosing import Chooser
from tests.bench.memory import private_bytes
from tests.bench.peers.base import F32, I64, Setting, padded
from tests.bench.peers.ours import Ours
from tests.bench.truth import Truth
from tests.churn.changing import PEERS, Changing
from tests.churn.runbook import Delete, Insert, Live, Replace, Runbook, Search, Step

RECALL = 0.95
PASSES = 3
WARM = 50


@dataclass(frozen=True, slots=True, eq=False)
class LiveTruth(Truth):
    """Recall of answers that name items, of which some rows of a data set are live.

    Attributes:
        row_of: for each number of an item its row if it is live, or -1; and a last -1.
    """

    row_of: I64

    def recall(self, labels: I64, rows: I64 | None = None) -> float:
        return Truth.recall(self, self.row_of[labels], rows)


@dataclass(frozen=True, slots=True)
class Task:
    """What everybody plays.

    Attributes:
        runbook: the steps.
        folder: scratch space; holds what ``prepare`` wrote.
    """

    runbook: Runbook
    folder: Path

    @property
    def vectors(self) -> F32:
        """(n, dim) rows of the data set."""
        found: F32 = np.load(self.folder / "vectors.npy")
        return found

    def queries(self, half: str) -> F32:
        """(n, dim) queries: those for CHOOSING, or those that are SCORED."""
        found: F32 = np.load(self.folder / f"{half}.npy")
        return found

    def truth(self, vectors: F32, row_of: I64, half: str, number: int) -> LiveTruth:
        """What an exact scan of the live items finds at a search step.

        Args:
            vectors: of the data set.
            row_of: for each number of an item its row there if it is live, or -1; and a last -1.
            half: of the queries: CHOOSING or SCORED.
            number: of the step.
        """
        tenth = np.load(self.folder / f"{half}-{number}.npy")
        return LiveTruth(vectors, self.queries(half), tenth, row_of)


CHOOSING, SCORED = "choosing", "scored"


def prepare(task: Task, vectors: F32, choosing: F32, scored: F32) -> None:
    """Write what the players need: exact scans of every search step once, for all of them."""
    np.save(task.folder / "vectors.npy", vectors)
    np.save(task.folder / f"{CHOOSING}.npy", choosing)
    np.save(task.folder / f"{SCORED}.npy", scored)
    live, is_first = Live(len(vectors)), True
    for step in task.runbook.steps:
        live.apply(step.operation)
        if not isinstance(step.operation, Search):
            continue
        items = vectors[live.rows()]
        for half, queries in ((CHOOSING, choosing), (SCORED, scored)):
            if half == SCORED or is_first:
                tenth = Truth.of(items, queries).tenth
                np.save(task.folder / f"{half}-{step.number}.npy", tenth)
        is_first = False


@dataclass(frozen=True, slots=True)
class Searched:
    """What was seen at a search step.

    Attributes:
        step: its number.
        live: items.
        recall: recall@10.
        rates: queries/s, pass by pass.
        digest: of our index; empty for others.
    """

    step: int
    live: int
    recall: float
    rates: list[float]
    digest: str


@dataclass(slots=True)
class Played:
    """How a peer did.

    Attributes:
        title: the peer's.
        setting: that was chosen at the first search.
        reached: whether it reached the recall there, on the queries kept for choosing.
        searches: step by step.
        updates: how many, by operation.
        seconds: that they took.
        peak: bytes of the largest resident memory above that before the first step.
        private: bytes of it at the end that are not pages of files.
        file: bytes that a restart needs.
    """

    title: str
    setting: str = ""
    reached: bool = True
    searches: list[Searched] = field(default_factory=list)
    updates: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    private: int = 0
    file: int = 0

    def rate(self, operation: str) -> float | None:
        """Updates/s of an operation; ``None`` if it did not occur."""
        seconds = self.seconds.get(operation)
        return self.updates[operation] / seconds if seconds else None


class _Peak:
    """The largest resident memory, but for that of scoring."""

    def __init__(self) -> None:
        self.base = _status("VmRSS")
        self.highest = self.base
        self.start()

    def start(self) -> None:
        """Look from here on."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def stop(self) -> None:
        """Look no more."""
        self.highest = max(self.highest, _status("VmHWM"))


class Player:
    """Plays one runbook with one peer.

    Args:
        task: what.
        title: who.
        step_done: told after every step.
    """

    def __init__(self, task: Task, title: str, step_done: Callable[[], None]) -> None:
        self._task, self._step_done = task, step_done
        self._vectors = task.vectors
        self._live = Live(len(self._vectors))
        self._peer: Changing = PEERS[title](task.folder)
        self._played = Played(title)
        self._setting: Setting | None = None
        # Gives back what is free: what is there before the first step is no peer's.
        self._private = private_bytes() or 0
        self._peak = _Peak()

    def play(self) -> Played:
        """All steps, then what is left of them."""
        steps, played, peer = self._task.runbook.steps, self._played, self._peer
        first = next(step.operation for step in steps if isinstance(step.operation, Insert))
        peer.begin(
            self._vectors[first.rows.start : first.rows.stop], self._task.runbook.most_points
        )
        try:
            for step in steps:
                self._do(step)
                self._step_done()
            self._peak.stop()
            played.peak = self._peak.highest - self._peak.base
            played.private = (private_bytes() or 0) - self._private
            played.file = self._saved_bytes()
        finally:
            peer.close()
        return played

    def _do(self, step: Step) -> None:
        match step.operation:
            case Insert(rows):
                self._timed("insert", rows, lambda tags: self._peer.put(tags, self._of(rows)))
            case Replace(of, rows):
                self._timed("replace", of, lambda tags: self._peer.replace(tags, self._of(rows)))
            case Delete(gone):
                self._timed("delete", gone, self._peer.delete)
            case Search():
                self._search(step.number)
        self._live.apply(step.operation)

    def _of(self, rows: range) -> F32:
        return self._vectors[rows.start : rows.stop]

    def _timed(self, name: str, tags: range, update: Callable[[I64], None]) -> None:
        numbers = np.arange(tags.start, tags.stop)
        started = time.perf_counter()
        update(numbers)
        played = self._played
        played.seconds[name] = played.seconds.get(name, 0) + time.perf_counter() - started
        played.updates[name] = played.updates.get(name, 0) + len(tags)

    def _search(self, number: int) -> None:
        peer, tags, rows = self._peer, self._live.tags(), self._live.rows()
        peer.settle(tags, self._vectors[rows], self._task.queries(CHOOSING))
        row_of = np.full(len(self._vectors) + 1, -1, np.int64)
        row_of[tags] = rows
        if self._setting is None:
            self._setting = self._tuned(number, row_of)
        ask, truth = (
            peer.asker(self._setting),
            self._task.truth(self._vectors, row_of, SCORED, number),
        )
        queries, rates = peer.prepare(truth.queries), []
        for query in queries[:WARM]:
            ask(query)
        for _ in range(PASSES):
            started = time.perf_counter()
            answers = [ask(query) for query in queries]
            rates.append(len(queries) / (time.perf_counter() - started))
        self._peak.stop()
        recall = truth.recall(padded(map(peer.labels, answers)))
        self._peak.start()
        digest = peer.reader.digest() if isinstance(peer, Ours) else ""
        self._played.searches.append(Searched(number, len(tags), recall, rates, digest))

    def _tuned(self, number: int, row_of: I64) -> Setting:
        """The smallest setting that reaches the recall here, or else the best there is."""
        self._peak.stop()
        truth = self._task.truth(self._vectors, row_of, CHOOSING, number)
        chooser = Chooser(self._peer, truth)
        setting = chooser.cheapest(RECALL)
        self._played.reached = setting is not None
        chosen = setting or chooser.best().setting
        self._played.setting = chosen.text
        self._peak.start()
        return chosen

    def _saved_bytes(self) -> int:
        if isinstance(self._peer, Ours):
            return self._peer.file_bytes()
        folder = self._task.folder / "saved"
        folder.mkdir()
        try:
            self._peer.save(folder)
            return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        finally:
            shutil.rmtree(folder)


def play_apart(task: Task, title: str, step_done: Callable[[], None]) -> Played:
    """Play in a new process.

    Raises:
        RuntimeError: it failed; its own traceback is on standard error.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(task, title, theirs))
    process.start()
    theirs.close()
    try:
        while (message := ours.recv()) is None:
            step_done()
        played: Played = message
        return played
    except EOFError:
        raise RuntimeError(f"{title} did not finish {task.runbook.dataset}") from None
    finally:
        process.join()


def _main(task: Task, title: str, answers: Connection) -> None:
    streamlsh.warm()
    with threadpool_limits(1):
        answers.send(Player(task, title, lambda: answers.send(None)).play())


def _status(name: str) -> int:
    """Bytes, of a line of the system's account of this process."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1_024
