"""One run: the broker, the clock, what happens to them, and the processes that live through it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

import streamlsh
from streamlsh.errors import WriterLockedError
from streamlsh_kafka import BatchBounds, Connection, KafkaDeadLetters, KafkaSource, ProgressLog
from streamlsh_kafka.loop import consume
from tests.properties.model import Model
from tests.simulation.broker import DEAD_TOPIC, TOPIC, Broker
from tests.simulation.clock import Clock
from tests.simulation.faults import Event
from tests.simulation.happenings import HAPPENINGS, produce
from tests.simulation.judging import has_cause
from tests.simulation.ledger import BrokenPromiseError, Ledger
from tests.simulation.process import Crashed, SimulatedProcess
from tests.simulation.store import Store, open_writer
from tests.simulation.workload import Workload

ACCEPTED_GAPS_ARE_STORED = True
"""Whether ``--accept-gap --until-end`` stores the accepted gap where nothing comes after it."""
MOST_STEPS = 6_000
"""Calls after which a run is taken for one that never ends."""
QUICK_SECONDS, SLOW_SECONDS = 0.002, 1.1
"""What most calls take, and a few."""
LAST_STEPS = 15
"""Calls that a run goes on for after its last event."""
CONNECTION = Connection("simulated:9092")


class How(NamedTuple):
    """How a process was started."""

    until_end: bool
    letters: bool
    accept_gap: bool
    most_records: int


class World:
    """Everything that one run consists of.

    Args:
        seed: what all of it is drawn from.
        events: what happens in it, in order.
        store: where its index is made.
        traced: whether `trace` is written.

    Attributes:
        met: how often each kind of event and of ending came about.
        trace: what happened, line by line.
    """

    def __init__(
        self, seed: int, events: Sequence[Event], store: Store, *, traced: bool = False
    ) -> None:
        random = Random(f"{seed} start")
        self.clock = Clock()
        self.random = Random(f"{seed} network")
        self.broker = Broker(random.randint(1, 3))
        self.workload = Workload()
        self.ledger = Ledger(self.broker)
        self.met: Counter[str] = Counter()
        self.trace: list[str] = []
        self.steps = 0
        self.owner: SimulatedProcess | None = None
        self.process: SimulatedProcess | None = None
        self._traced = traced
        self.ledger.met = self.met
        self._store = store
        self._events = deque(events)
        self._armed: list[Event] = []
        self._last_step = 0
        self._born = 0
        self._healed = False
        self._absent = 0  # events that pass before the next process
        self._stalls_at = 0  # a call of the last processes at which the client falls silent
        self._doubtful = False  # whether a transaction may have been under way at the last end
        self.path: Path = store.new()
        produce(self, random, random.randrange(16))

    # What happens ------------------------------------------------------------------------------

    def step(self, process: SimulatedProcess, seam: str) -> None:
        """A process calls out: let happen what is due."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise BrokenPromiseError("no end", f"after {MOST_STEPS} calls")
        self.clock.advance(SLOW_SECONDS if self.random.random() < 0.05 else QUICK_SECONDS)
        while self._events and self._events[0].at <= self.steps:
            self._let_happen()
        if self.steps == self._stalls_at:
            self.say("! the client stalls")
            self.broker.silence(self.random)
        for event in self._armed:
            if self._strikes(event, process, seam):
                self._armed.remove(event)
                self._strike(event, process, seam)
                break

    def _let_happen(self) -> None:
        """The next event: the world changes at once; what is done to a process waits for one."""
        event = self._events.popleft()
        self._last_step = self.steps
        if event.kind in HAPPENINGS:
            HAPPENINGS[event.kind](self, Random(event.seed))
            self._note(event)
        else:
            self._armed.append(event)

    def over(self) -> bool:
        """Whether all has happened that will, and the processes may be stopped."""
        return not self._healed and not self._events and self.steps > self._last_step + LAST_STEPS

    def fails(self, kind: str) -> Event | None:
        """The failure of this kind that is due, if any; it is due no more."""
        for event in self._armed:
            if event.kind == kind:
                self._armed.remove(event)
                self._note(event)
                return event
        return None

    def say(self, text: str) -> None:
        """Write a line of the trace."""
        if self._traced:
            who = "" if self.process is None else f"process {self.process.number}: "
            self.trace.append(f"{self.steps:5} {self.clock.passed:9.1f}s  {who}{text}")

    def _note(self, event: Event) -> None:
        self.met[event.kind] += 1
        self.say(f"! {event}")

    def _strikes(self, event: Event, process: SimulatedProcess, seam: str) -> bool:
        if event.kind in ("stop", "absence"):
            return True
        if event.kind == "crash":
            return event.seam == seam
        within = seam in ("poll", "describe", "begin commit", "send letter", "flush letters")
        quiet = not process.writing and process is self.owner and not process.second
        return event.kind == "takeover" and within and quiet

    def _strike(self, event: Event, process: SimulatedProcess, seam: str) -> None:
        self._note(event)
        if event.kind in ("stop", "absence"):
            process.stopping = True
            if event.kind == "absence":
                self._absent = Random(event.seed).randint(2, 6)
        elif event.kind == "crash":
            self.met[f"crash at {seam}"] += 1
            process.dead = True
            raise Crashed
        else:
            self._take_over(Random(event.seed))

    def _take_over(self, random: Random) -> None:
        """Another process writes the index while this one stands still."""
        lock = self.path / "writer.lock"
        if lock.exists():  # else it was removed before, by one that died then
            try:
                streamlsh.writer(self.path).close()
            except WriterLockedError:
                lock.unlink()
            else:
                raise BrokenPromiseError("two writers", "a second one was let in")
        self.live(How(random.random() < 0.3, True, False, 16), stop_at=self.steps + 40, second=True)

    # Who lives through it ----------------------------------------------------------------------

    def play(self) -> None:
        """Run processes one after the other until all has happened; then read to the end."""
        random = Random(f"{self.random.random()} operator")
        last = ""
        while not self.over():
            how = How(
                random.random() < 0.35,
                last == "PoisonRecordError" or random.random() < 0.75,
                last == "OffsetBelowStartError" and random.random() < 0.6,
                random.choice([1, 3, 16, 4096]),
            )
            last = self._restart(last, how)
        self._heal()
        self._stalls_at = self.steps + random.choice([0, 6, 7, 8, 9, 10])
        for _ in range(8):
            last = self._restart(last, How(True, True, last == "OffsetBelowStartError", 7))
            if last == "end":
                break
        else:
            raise BrokenPromiseError("no end", f"the last process ended with {last}")
        with streamlsh.open(self.path) as reader:
            self.ledger.check(reader)
            reader.verify()

    def _restart(self, last: str, how: How) -> str:
        """The operator's part: start again, in the way that the last error asks for."""
        gap = last == "OffsetBelowStartError" and not how.accept_gap
        if gap or last in ("OffsetBeyondEndError", "TopicRecreatedError"):
            self._rebuild()
        if last in ("BrokerUnreachableError", "TopicNotFoundError"):
            self._wait()
        if self._absent:
            self._stay_away()
        return self.live(how)

    def _wait(self) -> None:
        """Let happen what will, until broker and topic are there again."""
        while self._events and (self.broker.away or self.broker.topic is None):
            self.steps = max(self.steps, self._events[0].at)
            self._let_happen()
        if not self._events:
            self.steps += LAST_STEPS

    def _stay_away(self) -> None:
        """Let happen a few things while no process lives."""
        self.say(f"away for {self._absent} events")
        for _ in range(min(self._absent, len(self._events))):
            self.steps = max(self.steps, self._events[0].at)
            self._let_happen()
        self._absent = 0

    def _rebuild(self) -> None:
        """Begin a new index in place of the old one."""
        self.say("a new index")
        self.met["rebuilt"] += 1
        self.path = self._store.new()
        self.ledger.model = Model()
        self.ledger.named = None
        for partition in self.broker.partitions():
            partition.read = {}
            for entry in partition.entries:
                entry.served = entry.letters = entry.acknowledged = 0

    def _heal(self) -> None:
        """Whatever is wrong ends."""
        self.say("everything heals")
        self._healed = True
        self._armed.clear()
        self._events.clear()
        self.broker.away = self.broker.refuses_letters = False
        if self.broker.topic is None:
            self.broker.recreate(1)
        for partition in self.broker.partitions():
            partition.end_transaction(self.clock.passed, abort=False)

    def live(self, how: How, *, stop_at: int = MOST_STEPS, second: bool = False) -> str:
        """Run one process to its end, whatever that is; its name."""
        self._born += 1
        before = self.process
        process = SimulatedProcess(self, self._born, how.accept_gap, stop_at, second=second)
        self.process = process
        self.say(f"starts: {how}")
        try:
            ending = self._consume(process, how)
        except Crashed:
            ending = "crash"
        except BrokenPromiseError:
            raise
        except Exception as error:
            if not has_cause(error, self, process, letters=how.letters, accept_gap=how.accept_gap):
                raise BrokenPromiseError(f"wrong {type(error).__name__}", str(error)) from error
            ending = type(error).__name__
            self.say(f"ends: {ending}: {error}")
        else:
            self.say(f"ends: {ending}")
        finally:
            self.process = before
        if process.violation is not None:
            raise process.violation
        self.met[f"ended by {ending}"] += 1
        self._doubtful = ending in ("crash", "FencedError", "MapFullError", "DiskFullError")
        return ending

    def _consume(self, process: SimulatedProcess, how: How) -> str:
        """What the command ``run`` does."""
        with ExitStack() as stack:
            process.step("open")
            writer = open_writer(self.path, process)
            stack.callback(writer.close)
            process.writer = writer
            self.owner = process
            process.read = lambda: self._reader(stack)
            if self._doubtful:
                self.ledger.check(process.read())
            source = KafkaSource(CONNECTION, TOPIC, accept_gap=how.accept_gap)
            stack.callback(source.close)
            process.source = source
            process.identity = source.identity
            letters = (
                KafkaDeadLetters(CONNECTION, DEAD_TOPIC, stop_requested=process.stop_requested)
                if how.letters
                else None
            )
            topic = self.broker.topics[source.identity]
            ends = {p.number: p.stable for p in topic.partitions}
            for partition in topic.partitions:
                partition.shortest = partition.end
            consume(
                writer, source, dead_letters=letters, until_end=how.until_end,
                bounds=BatchBounds(records=how.most_records),
                observers=[ProgressLog(), process], stop_requested=process.stop_requested,
            )  # fmt: skip
            if not how.until_end or process.stopping:
                return "stop"
            if topic is self.broker.topic:
                # It may have asked for the end when some had been lost, and before more came.
                self._check_end(
                    process, {n: min(e, topic.partitions[n].shortest) for n, e in ends.items()}
                )
            return "end"

    def _reader(self, stack: ExitStack) -> streamlsh.Reader:
        """A reader of the index, which the stack closes."""
        return stack.enter_context(streamlsh.open(self.path))

    def _check_end(self, process: SimulatedProcess, ends: dict[int, int]) -> None:
        stored = self.ledger.model.positions
        # An index that has read nothing of a partition need not note that there was nothing.
        ends = {
            n: end
            for n, end in ends.items()
            if process.begun.get(n, 0) < end or (ACCEPTED_GAPS_ARE_STORED and (TOPIC, n) in stored)
        }
        self.ledger.check_read_to_end(ends)
