"""Runs, one or thousands, and the shortest schedule with which a failing one still fails."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from tests.simulation.faults import Event, schedule
from tests.simulation.ledger import BrokenPromiseError
from tests.simulation.seams import Stage, simulated
from tests.simulation.store import Store
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Failure:
    """A run in which something did not hold.

    Attributes:
        seed: of the run.
        kind: which promise was broken, or the class of an error that nobody expected.
        message: what was found.
        events: what happened in it, as numbers of the seed's schedule.
        scheduled: how many events the seed's schedule has.
        trace: what happened, line by line, if it was asked for.
    """

    seed: int
    kind: str
    message: str
    events: Sequence[int]
    scheduled: int
    trace: Sequence[str] = ()

    def command(self) -> str:
        """What replays it."""
        kept = ",".join(map(str, self.events)) or "none"
        chosen = "" if len(self.events) == self.scheduled else f" --keep {kept}"
        return f"python -m tests.simulation --runs 1 --seed {self.seed}{chosen} --trace"


@dataclass(slots=True)
class Tally:
    """What came of some runs.

    Attributes:
        runs: how many.
        met: how often each kind of event and of ending came about.
        failures: of the runs, each with its whole schedule.
        trace: of the last run, if it was asked for.
    """

    runs: int = 0
    met: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what came of other runs."""
        self.runs += other.runs
        self.met += other.met
        self.failures += other.failures


class Theatre:
    """Plays runs in this process; made by ``opened``."""

    def __init__(self, stage: Stage, store: Store) -> None:
        self._stage = stage
        self._store = store

    def play(
        self, seed: int, events: Sequence[Event], tally: Tally, *, traced: bool = False
    ) -> Failure | None:
        """Play one run.

        Args:
            seed: of the run.
            events: its schedule, or a part of it.
            tally: to which it is added.
            traced: whether the failure has a trace.
        """
        world = World(seed, events, self._store, traced=traced)
        self._stage.world = world
        kind = message = ""
        try:
            world.play()
        except BrokenPromiseError as violation:
            kind, message = violation.kind, str(violation)
        except Exception as error:  # noqa: BLE001 - nothing else may end a run
            kind = type(error).__name__
            message = "".join(traceback.format_exception(error))
        tally.runs += 1
        tally.met += world.met
        tally.trace = world.trace
        if not kind:
            return None
        numbers = [event.number for event in events]
        return Failure(seed, kind, message, numbers, len(schedule(seed)), world.trace)

    def shorten(self, failure: Failure) -> Failure:
        """Drop events as long as the same promise is broken: first many at once, then few."""
        known = schedule(failure.seed)
        kept = [event for event in known if event.number in failure.events]
        size = max(1, len(kept) // 2)
        while True:
            dropped = False
            for at in range(0, len(kept), size):
                fewer = kept[:at] + kept[at + size :]
                again = self.play(failure.seed, fewer, Tally())
                if again is not None and again.kind == failure.kind:
                    kept, dropped = fewer, True
                    break
            if not dropped and size == 1:
                break
            if not dropped:
                size //= 2
        shortest = self.play(failure.seed, kept, Tally(), traced=True)
        assert shortest is not None
        return shortest


def play_all(seeds: Sequence[int], stop: Callable[[Tally], bool] = lambda _: False) -> Tally:
    """Play the runs of some seeds, each with its whole schedule.

    Args:
        seeds: of the runs.
        stop: asked after every run whether it was enough.
    """
    tally = Tally()
    with simulated() as stage, closing(Store()) as store:
        theatre = Theatre(stage, store)
        for seed in seeds:
            failure = theatre.play(seed, schedule(seed), tally)
            if failure is not None:
                tally.failures.append(failure)
            if stop(tally):
                break
    return tally


def shorten(failure: Failure) -> Failure:
    """The shortest schedule that was found with which a run still fails, and its trace."""
    with simulated() as stage, closing(Store()) as store:
        return Theatre(stage, store).shorten(failure)


def play_part(seed: int, kept: Sequence[int] | None) -> Tally:
    """Play one run with some of its events (``None`` for all of them), and trace it."""
    tally = Tally()
    with simulated() as stage, closing(Store()) as store:
        events = [e for e in schedule(seed) if kept is None or e.number in kept]
        failure = Theatre(stage, store).play(seed, events, tally, traced=True)
        if failure is not None:
            tally.failures.append(failure)
    return tally
