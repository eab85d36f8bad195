"""What must hold at every commit, checked against the broker's log and a plain dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import streamlsh
from streamlsh import CommitResult, Position, Upsert
from streamlsh_kafka.replaying import replay_stream
from tests.properties.model import Model, by_utf8, same_item
from tests.simulation.broker import TOPIC, Broker, Entry, Fate, Partition

REPLAY = replay_stream(TOPIC)


class BrokenPromiseError(AssertionError):
    """Something that must hold did not.

    Attributes:
        kind: which promise, in few words, so that equal failures are known to be equal.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class Ledger:
    """Knows the log, what each process has fetched of it, and so what the index must hold.

    Attributes:
        model: what the index must hold.
        result: what the last commit must have counted.
        named: while a sweep lasts, the ids that were read since it began.
        met: counts sweeps, and the ghosts that they removed.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.model = Model()
        self.result = CommitResult(0)
        self.named: set[str] | None = None
        self.met: Counter[str] = Counter()

    def committed(
        self,
        reader: streamlsh.Reader,
        fetched: list[Entry],
        begun: Mapping[int, int],
        *,
        accept_gap: bool,
        owner: bool,
        sweeping: bool,
        anew: bool,
    ) -> None:
        """A process has committed: take what its positions have passed, and compare.

        Args:
            reader: of the index.
            fetched: what the process has fetched and not yet committed, in the order of
                delivery; what the commit passes is removed.
            begun: where partitions without stored position began when the process was told.
            accept_gap: whether it may pass records that retention removed.
            owner: whether no other process has taken the index over.
            sweeping: whether the writer says that a sweep lasts.
            anew: whether it began with this commit.
        """
        if not owner:
            raise BrokenPromiseError("zombie", "a process that was taken over has written")
        positions = _of_stream(reader, TOPIC)
        moves = [p for key, p in positions.items() if self.model.positions.get(key) != p]
        ends = {p.partition: p.offset for p in positions.values()}
        floors = {p.partition: p.offset for p in self.model.positions.values()}
        # A second reading passes what lies below the floors once more, and says how far it is.
        reread = ends | {p.partition: p.offset for p in _of_stream(reader, REPLAY).values()}
        again: list[Entry] = []
        taken: list[Entry] = []
        ahead: list[Entry] = []
        for entry in fetched:
            below = entry.offset < floors.get(entry.partition, 0)
            if entry.offset >= (reread if below else ends).get(entry.partition, 0):
                ahead.append(entry)
            else:
                (again if below else taken).append(entry)
        fetched[:] = ahead
        for position in moves:
            self._check_move(position, taken, begun, accept_gap=accept_gap)
        for entry in taken:
            if entry.fate is Fate.ABORTED:
                raise BrokenPromiseError("aborted record", f"{entry} was read")
            if entry.reason and not entry.acknowledged:
                raise BrokenPromiseError(
                    "poison passed", f"{entry} is committed without an acknowledged dead letter"
                )
        updates = [entry.update for entry in taken if entry.update is not None]
        before = self.model.commit
        self.result = replace(self.model.apply(updates, moves), commit=reader.commit)
        if reader.commit < self.model.commit:
            raise BrokenPromiseError("commits", f"number {reader.commit}, after {before}")
        self.model.commit = reader.commit
        if sweeping and (anew or self.named is None):
            self.named = set()
            self.met["sweeps"] += 1
        self._sweep(reader, again + taken, sweeping=sweeping)
        self.check(reader)

    def _sweep(self, reader: streamlsh.Reader, read: list[Entry], *, sweeping: bool) -> None:
        """While a sweep lasts, remember what is named; at its end, the others must be gone."""
        if self.named is None:
            return
        self.named |= {e.update.id for e in read if isinstance(e.update, Upsert)}
        ghosts = set(self.model.items) - self.named
        gone = {item.id for item in reader.items()} == set(self.model.items) - ghosts
        if gone or not sweeping:
            for name in ghosts:
                del self.model.items[name]
                self.met["ghosts"] += 1
        if not sweeping:
            self.named = None

    def check(self, reader: streamlsh.Reader) -> None:
        """The index holds what it must."""
        model = self.model
        listed = list(reader.items())
        expected = by_utf8(model.items)
        names, wanted = [item.id for item in listed], [item.id for item in expected]
        if names != wanted:
            raise BrokenPromiseError("content", f"ids {names}, expected {wanted}")
        for item, right in zip(listed, expected, strict=True):
            if not same_item(item, right):
                raise BrokenPromiseError("content", f"{item}, expected {right}")
        if _of_stream(reader, TOPIC) != model.positions:
            raise BrokenPromiseError(
                "positions", f"{dict(reader.positions)}, expected {model.positions}"
            )
        if reader.commit != model.commit:
            raise BrokenPromiseError("commits", f"number {reader.commit}, expected {model.commit}")

    def check_read_to_end(self, ends: Mapping[int, int]) -> None:
        """The stored positions have reached what was the end when the process began."""
        for partition, end in ends.items():
            position = self.model.positions.get((TOPIC, partition))
            at = 0 if position is None else position.offset
            if at < end:
                raise BrokenPromiseError(
                    "not read to the end",
                    f"partition {partition} ended at {end}, and {at} is stored",
                )

    def _check_move(
        self, to: Position, taken: Sequence[Entry], begun: Mapping[int, int], *, accept_gap: bool
    ) -> None:
        """Nothing that a reader could get lies between two positions, except what was taken."""
        partition: Partition = self._broker.topics[to.identity].partitions[to.partition]
        stored = self.model.positions.get((to.stream, to.partition))
        start = begun.get(to.partition, 0) if stored is None else stored.offset
        if to.offset < start:
            raise BrokenPromiseError("went back", f"from {start} to {to}")
        if to.offset > partition.longest:
            raise BrokenPromiseError(
                "beyond the end", f"{to}, which never had more than {partition.longest}"
            )
        passed = {entry.offset for entry in taken if entry.partition == to.partition}
        for entry in partition.entries[start : to.offset]:
            if entry.offset in passed:
                continue
            if partition.read.get(entry.offset + 1, entry) is not entry:
                continue  # another one stood there when it was passed, and was lost since
            if entry.fate is Fate.KEPT:
                raise BrokenPromiseError(
                    "skipped", f"{entry} is there, and {to} has passed it unread"
                )
            if entry.fate is Fate.EXPIRED and not accept_gap:
                raise BrokenPromiseError(
                    "gap", f"{entry} was removed unread, and {to} has passed it"
                )


def _of_stream(reader: streamlsh.Reader, stream: str) -> dict[tuple[str, int], Position]:
    """The positions in the topic, or those of a second reading of it."""
    return {key: p for key, p in reader.positions.items() if key[0] == stream}
