"""What happens in a run, and when: drawn from the seed alone, before the run begins."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SEAMS = (
    "open", "connect", "describe", "offsets", "poll", "send letter", "flush letters",
    "begin commit", "end commit", "after commit",
)  # fmt: skip
"""Where the consumer touches the world, so where it can be interrupted."""

KINDS = {
    "produce": 14,
    "transaction": 4,
    "compact": 3,
    "retention": 2,
    "truncate": 0.5,
    "delete topic": 0.3,
    "recreate topic": 0.5,
    "add partition": 1,
    "broker away": 1,
    "broker back": 1.5,
    "letters refused": 1.5,
    "letters taken": 2,
    "poll fails": 0.7,
    "stall": 0.7,
    "clock jump": 1,
    "time passes": 1,
    "crash": 6,
    "stop": 1.5,
    "absence": 1,
    "deletes forgotten": 1,
    "storage": 1.5,
    "takeover": 1.2,
}
"""Kinds of events, with how often each is drawn."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens.

    Attributes:
        number: its place in the whole schedule; what is dropped keeps the others' numbers.
        at: the step (of the consumer's calls) from which on it is due.
        kind: one of ``KINDS``.
        seam: where a crash strikes, or a writer is taken over.
        seed: what the details are drawn from.
    """

    number: int
    at: int
    kind: str
    seam: str
    seed: str

    def __str__(self) -> str:
        where = f" at {self.seam}" if self.kind in ("crash", "takeover") else ""
        return f"#{self.number} {self.kind}{where}"


def schedule(seed: int) -> list[Event]:
    """The events of a run, in the order in which they are due."""
    random = Random(f"{seed} schedule")
    count = random.randint(3, 20)
    steps = sorted(random.randint(1, count * 9) for _ in range(count))
    kinds = random.choices(list(KINDS), list(KINDS.values()), k=count)
    return [
        Event(number, at, kind, random.choice(SEAMS), f"{seed} event {number}")
        for number, (at, kind) in enumerate(zip(steps, kinds, strict=True))
    ]
