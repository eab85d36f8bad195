"""The broker's side: a topic's log that is compacted, shortened, truncated and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from streamlsh import Delete, Upsert
from streamlsh_kafka.source import Headers

TOPIC = "items"
DEAD_TOPIC = "items-dead"
TOMBSTONES_KEPT = 3_600.0
"""Seconds for which compaction leaves tombstones: the topic's ``delete.retention.ms``."""


class Fate(Enum):
    """What became of an offset."""

    KEPT = "kept"
    MARKER = "a transaction's marker"
    ABORTED = "of an aborted transaction"
    COMPACTED = "compacted away"
    EXPIRED = "removed by retention"


@dataclass(slots=True, eq=False)
class Entry:
    """One offset of a partition, and what the ledger knows of it.

    Attributes:
        update: what the record means; ``None`` for poison and markers.
        reason: the reason that its dead letter must give; empty if it is good.
        appended: seconds of the clock.
        fate: whether a reader can still get it.
        served: how often a reader got it.
        letters: dead letters about it that have landed, acknowledged or not.
        acknowledged: how many of them were acknowledged.
        epoch: of the leader that appended it.
    """

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    update: Upsert | Delete | None
    reason: str
    appended: float
    fate: Fate = Fate.KEPT
    served: int = 0
    letters: int = 0
    acknowledged: int = 0
    epoch: int = 0

    def __str__(self) -> str:
        if self.fate is Fate.MARKER:
            what = "marker"
        elif self.update is None:
            what = f"poison ({self.reason})"
        else:
            version = "" if self.update.version is None else f" v{self.update.version}"
            what = f"{type(self.update).__name__} {self.update.id}{version}"
        return f"{self.partition}:{self.offset} {what}"


@dataclass(slots=True, eq=False)
class Partition:
    """A log; ``entries[offset]`` stays there for the ledger whatever a reader may still see.

    Attributes:
        start: the first offset that the broker has.
        open_at: where a transaction begins that has not ended.
        epoch: of its leader.
        was_cut: whether records were ever lost at its end.
        read: by offset, what stood before it when a reader got there.
        latest_start: the highest start that it ever had; a truncation lowers it again.
        longest: how long it ever was.
        shortest: how short it was since the last process started.
    """

    number: int
    entries: list[Entry] = field(default_factory=list)
    start: int = 0
    open_at: int | None = None
    epoch: int = 0
    was_cut: bool = False
    read: dict[int, Entry] = field(default_factory=dict)
    latest_start: int = 0
    longest: int = 0
    shortest: int = 0

    @property
    def end(self) -> int:
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The end for those who read committed records only."""
        return self.end if self.open_at is None else self.open_at

    def append(self, entry: Entry) -> None:
        entry.epoch = self.epoch
        self.entries.append(entry)
        self.longest = max(self.longest, self.end)

    def readable(self, offset: int, *, aborted: bool = False) -> Iterator[Entry]:
        """What a reader gets from an offset on."""
        end = self.end if aborted else self.stable
        for at in range(max(offset, self.start), end):
            entry = self.entries[at]
            if entry.fate is Fate.KEPT or (aborted and entry.fate is Fate.ABORTED):
                yield entry

    def compact(self, now: float) -> int:
        """Keep the newest record of each key, and no old tombstones; how many went.

        The newest record stays whatever it is, as the active segment does.
        """
        newest: dict[bytes, Entry] = {}
        for entry in self.readable(0):
            if entry.key is not None:
                newest[entry.key] = entry
        gone = 0
        for entry in self.readable(0):
            if entry.key is None or entry.offset == self.end - 1:
                continue
            old_tombstone = entry.value is None and now - entry.appended > TOMBSTONES_KEPT
            if newest[entry.key] is not entry or old_tombstone:
                entry.fate = Fate.COMPACTED
                gone += 1
        return gone

    def expire(self, start: int) -> None:
        """Remove everything below an offset, as retention does."""
        for entry in self.readable(0):
            if entry.offset < start:
                entry.fate = Fate.EXPIRED
        self.start = max(self.start, start)
        self.latest_start = max(self.latest_start, start)

    def truncate(self, end: int) -> None:
        """Lose the end, as an unclean leader election does."""
        self.epoch += 1
        self.was_cut = self.was_cut or end < self.end
        del self.entries[end:]
        self.shortest = min(self.shortest, end)
        self.start = min(self.start, end)
        if self.open_at is not None and self.open_at >= end:
            self.open_at = None

    def end_of(self, epoch: int) -> int:
        """Where the log ends that was written up to a leader's epoch."""
        later = (entry.offset for entry in self.entries if entry.epoch > epoch)
        return max(next(later, self.end), self.start)

    def begin(self, offset: int) -> None:
        """A reader goes to an offset; where the log begins there is nothing before it."""
        if offset <= self.start:
            self.read.pop(offset, None)

    def reached(self, at: int, after: int) -> None:
        """A reader has passed these offsets."""
        self.read |= {entry.offset + 1: entry for entry in self.entries[at:after]}

    def end_transaction(self, now: float, *, abort: bool) -> None:
        """Commit or abort the open transaction."""
        if self.open_at is None:
            return
        for entry in self.entries[self.open_at :]:
            if abort and entry.fate is Fate.KEPT:
                entry.fate = Fate.ABORTED
        self.open_at = None
        self.append_marker(now)

    def append_marker(self, now: float) -> None:
        marker = Entry(self.number, self.end, 0, None, None, (), None, "", now, Fate.MARKER)
        self.append(marker)


@dataclass(slots=True, eq=False)
class Topic:
    """A topic; another one of the same name has another identity."""

    identity: str
    partitions: list[Partition]

    @classmethod
    def new(cls, identity: str, partitions: int) -> Topic:
        return cls(identity, [Partition(number) for number in range(partitions)])

    def entry(self, partition: int, offset: int) -> Entry | None:
        """What stands at an offset, if there is such an offset."""
        entries = self.partitions[partition].entries
        return entries[offset] if offset < len(entries) else None


class Broker:
    """What the clients talk to.

    Attributes:
        topics: every topic there ever was, by identity.
        topic: the one that exists now.
        away: whether nobody answers.
        generation: of clients; those of an earlier one are silent, without a word.
        silent: the partition that they deliver nothing of, or ``None`` for all.
        refuses_letters: whether the dead-letter topic does not acknowledge.
        keeps_refused: whether what it does not acknowledge is stored all the same.
    """

    def __init__(self, partitions: int) -> None:
        self.topic: Topic | None = Topic.new("uuid-0", partitions)
        self.topics = {self.topic.identity: self.topic}
        self.away = False
        self.generation = 0
        self.silent: int | None = None
        self.refuses_letters = False
        self.keeps_refused = False

    def silence(self, random: Random) -> None:
        """Make all clients that there are silent, about everything or one partition."""
        self.generation += 1
        self.silent = random.choice([None, 0, 1, 2])

    def partitions(self) -> list[Partition]:
        """Those of the topic, if there is one."""
        return [] if self.topic is None else self.topic.partitions

    def recreate(self, partitions: int) -> Topic:
        """Another topic under the same name."""
        self.topic = Topic.new(f"uuid-{len(self.topics)}", partitions)
        self.topics[self.topic.identity] = self.topic
        return self.topic
