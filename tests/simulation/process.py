"""A consumer process, which ends when the simulation says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

import streamlsh
from streamlsh import CommitResult
from streamlsh_kafka import BatchReport, Source
from tests.simulation.broker import Broker, Entry
from tests.simulation.clock import Clock
from tests.simulation.ledger import BrokenPromiseError
from tests.simulation.stepping import SteppedExecutor

if TYPE_CHECKING:
    from tests.simulation.world import World

KNOWN_POLLS, KNOWN_SECONDS = 3, 3.0
"""Polls, and seconds, after which a consumer has noticed that its topic is another one."""


class Crashed(BaseException):
    """The process is dead: nothing in it may catch this, and nothing it does counts."""


class SimulatedProcess:
    """What the consumer's calls go through, and what is known of its process.

    Attributes:
        second: whether it was started while another one lives.
        read: opens a reader of the index; set once the writer is open.
        source: what it reads; set once that is open.
        dead: a dead process dies again at its next call.
        stopping: whether it was asked to stop.
        writing: whether a write transaction is open.
        identity: of the topic that it follows, once it does.
        begun: where partitions began when it first asked.
        described: identity of the topic when it last asked for it.
        lonely: whether a call of its went unanswered.
        poll_failed, storage_failed: whether that was done to it.
        violation: what did not hold, should the code under test have swallowed it.
    """

    def __init__(
        self, world: World, number: int, accept_gap: bool, stop_at: int, *, second: bool
    ) -> None:
        self.world = world
        self.number = number
        self.second = second
        self.writer: streamlsh.Writer
        self.read: Callable[[], streamlsh.Reader]
        self.source: Source | None = None
        self._reader: streamlsh.Reader | None = None
        self._sweep_begins = False
        self.dead = self.stopping = self.writing = False
        self.lonely = self.poll_failed = self.storage_failed = False
        self.identity: str | None = None
        self.described: str | None = None
        self.begun: dict[int, int] = {}
        self.violation: BrokenPromiseError | None = None
        self._fetched: list[Entry] = []
        self._reached: dict[int, int] = {}
        self._accept_gap = accept_gap
        self._stop_at = stop_at
        self._result = CommitResult(0)
        self._served_by: str | None = None
        self._served_since = 0.0
        self._polls = 0
        self._executors: list[SteppedExecutor] = []

    @property
    def broker(self) -> Broker:
        return self.world.broker

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def random(self) -> Random:
        return self.world.random

    def step(self, seam: str) -> None:
        """The consumer calls out."""
        if self.dead:
            raise Crashed
        self.world.step(self, seam)
        if self.stopping and self.source is not None and self.random.random() < 0.2:
            # What was asked to stop loses its patience with the source.
            self.source.close()
        for executor in self._executors:
            executor.perhaps_run()

    def stop_requested(self) -> bool:
        """Whether SIGTERM came, or the run is over."""
        over = self.world.over() or self.world.steps >= self._stop_at
        self.stopping = self.stopping or over
        return self.stopping

    def adopt(self, executor: SteppedExecutor) -> None:
        """Run an executor's tasks now and then."""
        self._executors.append(executor)

    def might(self) -> bool:
        """Whether a task that need not run yet runs now."""
        return not self.dead and self.random.random() < 0.3

    # The client's view -------------------------------------------------------------------------

    def fetched(self, partition: int, entries: Sequence[Entry], position: int) -> None:
        """Records have reached the client, and its position, which may be past markers, too."""
        self._reached[partition] = position
        for entry in entries:
            entry.served += 1
        self._fetched += entries
        if entries:
            self.world.say(f"fetches {', '.join(map(str, entries))}")

    def answered(self, identity: str | None) -> None:
        """A poll was answered by the topic of this identity, or not at all."""
        if identity is None or identity != self._served_by:
            self._served_by, self._served_since, self._polls = identity, self.clock.passed, 0
        self._polls += 1

    def must_know(self, identity: str) -> bool:
        """Whether it has read from this topic for so long that it must know its identity."""
        waited = self.clock.passed - self._served_since
        return identity == self._served_by and self._polls > KNOWN_POLLS and waited > KNOWN_SECONDS

    def told(self, identity: str) -> None:
        """The consumer was told the topic's identity."""
        self.described = identity

    def sought(self, partition: int, offset: int) -> None:
        """What the client holds from there on will be fetched again."""
        self._reached[partition] = offset
        self._fetched = [e for e in self._fetched if e.partition != partition or e.offset < offset]

    def began(self, starts: Mapping[int, int]) -> None:
        """The consumer was told where partitions begin."""
        self.begun = {**starts, **self.begun}

    def reached(self, partition: int) -> int:
        """How far a partition was fetched."""
        return self._reached.get(partition, 0)

    def origin(self, partition: int, offset: int) -> Entry | None:
        """The record at an offset, if it is fetched and not yet committed."""
        for entry in self._fetched:
            if (entry.partition, entry.offset) == (partition, offset):
                return entry
        return None

    def unanswered(self) -> None:
        """A call went unanswered."""
        self.lonely = True

    def poll_fails(self) -> bool:
        """Whether this poll ends in an error of the client."""
        failed = self.world.fails("poll fails") is not None
        self.poll_failed = self.poll_failed or failed
        return failed

    # The store's view --------------------------------------------------------------------------

    def writes(self, *, begun: bool) -> None:
        """A write transaction begins, or has ended."""
        self.writing = begun

    def begins_sweep(self) -> None:
        """The next transaction begins a sweep, also if one is under way."""
        self._sweep_begins = True

    def storage_fails(self) -> str:
        """Why the storage refuses this transaction, or nothing."""
        event = self.world.fails("storage")
        if event is None:
            return ""
        self.storage_failed = True
        return Random(event.seed).choice(["map", "disk"])

    def durable(self) -> None:
        """A write transaction is durable: everything must hold now."""
        ledger = self.world.ledger
        if self._reader is None:
            self._reader = self.read()
        try:
            ledger.committed(
                self._reader, self._fetched, self.begun, accept_gap=self._accept_gap,
                owner=self is self.world.owner, sweeping=self.writer.sweeping,
                anew=self._sweep_begins,
            )  # fmt: skip
            self._sweep_begins = False
        except BrokenPromiseError as violation:
            self.violation = violation
            raise
        self._result = ledger.result
        at = {p.partition: p.offset for p in ledger.model.positions.values()}
        self.world.say(f"commits {ledger.result}, positions {at}")

    # The loop's observer -----------------------------------------------------------------------

    def committed(self, report: BatchReport) -> None:
        """The loop says what a commit did."""
        if report.result != self._result:
            raise BrokenPromiseError("counts", f"{report.result}, expected {self._result}")

    def polled(self, source: Source) -> None:
        """The source rests."""

    def close(self) -> None:
        """The loop ends."""
