"""Deletes that may have been missed: a compacted topic is read again, and ghosts are swept away.

Compaction removes a tombstone `delete.retention.ms` after it met it. A consumer that was away for
longer may never see it, and would keep the deleted item for ever: a ghost. So the index stores
when it was last known to be caught up, and after an absence of half the retention (the other half
is for clocks that differ and for reading itself) the topic is read from its beginning once more:

- A record *below* the offset that the index has read up to was applied before. Its id is marked
  as seen, and nothing else: applied again, older values would come back for a while.
- A record from that offset on is applied, as always.
- When all of that has been passed, the source is asked for its ends: a record that was compacted
  away before it could be read again has a newer one of its key below these. When they are
  reached, items that nothing named are removed, in one commit.

The same holds for a consumer that lives on but was held up for so long (a machine that slept, a
broker or a dead-letter topic that was away, a first reading that takes long). It notices when it is
caught up again, before it stores that.

The stored offsets never go back. How far the second reading got is stored beside them, as the
positions of a stream named after the topic, in the same commits as the marks: a consumer that is
stopped in the middle goes on there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from streamlsh import Position, Writer
from streamlsh_kafka.errors import (
    BrokerUnreachableError,
    OffsetBelowStartError,
    SourceClosedError,
)
from streamlsh_kafka.logs import event
from streamlsh_kafka.source import Source, reached

SHARE: Final = 0.5
"""An absence of more than this part of the retention makes a replay necessary."""
REFRESHES: Final = 16
"""In a retention the time of being caught up is stored so many times."""
LEAST_REFRESH_SECONDS: Final = 60.0
"""But not more often than this."""
UNTOLD: Final = (BrokerUnreachableError, SourceClosedError)
"""Errors of a source that is asked for its ends at rest; the batch in hand is finished anyhow."""

_log = logging.getLogger(__name__)


def replay_stream(stream: str) -> str:
    """The stream that the second reading's positions are stored under.

    No topic can have this name.

    >>> replay_stream("items")
    'items (replay)'
    """
    return f"{stream} (replay)"


class Replay:
    """One second reading of a source, from where it began or was interrupted.

    Attributes:
        floors: by partition, the offset below which records are only marked as seen.
    """

    def __init__(self, writer: Writer, source: Source) -> None:
        self._writer = writer
        self._source = source
        self._stream = replay_stream(source.stream)
        self.floors: Mapping[int, int] = {
            partition: position.offset
            for (stream, partition), position in writer.positions.items()
            if stream == source.stream
        }
        self._passed = False
        self._ends: Mapping[int, int] | None = None

    def begin(self, now: float) -> None:
        """Go to the beginning, and start a sweep.

        The order matters: a sweep that is under way must never find the positions of an earlier
        one, nor may the absence be forgotten before the sweep is stored.

        Args:
            now: unix time; from now on no delete is missed.

        Raises:
            OffsetBelowStartError: records that were not read yet were removed meanwhile.
        """
        self._source.start({})
        if any(p.offset > self.floors.get(p.partition, p.offset) for p in self._source.positions()):
            self._source.start(self._writer.positions)  # raises, unless gaps may be passed
            self._source.start({})
        self._writer.commit(self._renamed(self._source.positions()))
        self._writer.begin_sweep()
        self._writer.commit(caught_up=now)

    def resume(self, now: float) -> None:
        """Go to where the second reading was interrupted; begin anew if that is gone."""
        topic = self._source.stream
        stored = {
            (topic, partition): replace(position, stream=topic)
            for (stream, partition), position in self._writer.positions.items()
            if stream == self._stream
        }
        try:
            self._source.start(stored)
        except OffsetBelowStartError:
            self.begin(now)

    def positions(self, at: Sequence[Position]) -> list[Position]:
        """What to store: offsets that never go back, and how far the second reading got.

        Args:
            at: where the source stands.
        """
        live = [p for p in at if p.offset >= self.floors.get(p.partition, 0)]
        return [*live, *self._renamed(at)]

    def finished(self, at: Sequence[Position]) -> bool:
        """Whether everything that there is has been named by now.

        Args:
            at: what is committed.
        """
        self._passed = reached(at, self.floors)
        return self._passed and self._ends is not None and reached(at, self._ends)

    def ask(self) -> None:
        """Ask for the ends, once, if ``finished`` was told that the old part has been passed.

        The source must not be in use.
        """
        if self._passed and self._ends is None:
            try:
                self._ends = self._source.end_offsets()
            except UNTOLD:
                return

    def end(self) -> None:
        """Remove what was not named, and the second reading's positions with it."""
        ghosts = self._writer.end_sweep(forget=self._stream)
        event(_log, logging.INFO, "replayed", topic=self._source.stream, ghosts=ghosts)

    def _renamed(self, at: Sequence[Position]) -> list[Position]:
        return [replace(position, stream=self._stream) for position in at]


def begin_replay(
    writer: Writer, source: Source, retention: float | None, now: float
) -> Replay | None:
    """Start or resume a replay, if one is needed; the source is moved then.

    Args:
        writer: of the index.
        source: started at the index's positions.
        retention: seconds for which the source keeps deletes; ``None`` for ever.
        now: unix time.
    """
    missed = _why(writer.caught_up, now - writer.caught_up, retention)
    streams = {stream for stream, _ in writer.positions} - {replay_stream(source.stream)}
    if not streams or not (writer.sweeping or missed):
        return None
    if streams != {source.stream}:
        others = ",".join(sorted(streams - {source.stream}))
        event(_log, logging.ERROR, "replay_refused", topic=source.stream, reason=missed,
              error=f"a replay would remove the items that came from {others}")  # fmt: skip
        return None
    replay = Replay(writer, source)
    event(
        _log,
        logging.WARNING,
        "replaying",
        topic=source.stream,
        reason=missed or "a replay was interrupted",
        delete_retention_seconds=retention,
    )
    if missed is None:
        replay.resume(now)
    else:
        replay.begin(now)
    return replay


def _why(caught_up: float, away: float, retention: float | None) -> str | None:
    """Why deletes may have been missed, or ``None``."""
    if retention is None:
        return None
    if not caught_up:
        return "it is not known when the index was last caught up"
    if away < 0:
        return "the index was last caught up in the future: a clock jumped"
    if away > retention * SHARE:
        return f"the index was last caught up {away:.0f} s ago: deletes may have been missed"
    return None


class CaughtUp:
    """Finds out when the index was last caught up, by asking the source for its ends now and then.

    Positions that reach the ends asked for at a time show that the index was caught up then.

    Args:
        source: it is asked.
        retention: seconds for which the source keeps deletes; ``None`` means never to ask.
        clock: unix time.
        ends: the ends that were asked for already, at ``asked``, unix time.
    """

    def __init__(
        self,
        source: Source,
        retention: float | None,
        clock: Callable[[], float],
        ends: Mapping[int, int],
        asked: float,
    ) -> None:
        self._source = source
        self._retention = retention
        self._clock = clock
        self._every = (
            None if retention is None else max(LEAST_REFRESH_SECONDS, retention / REFRESHES)
        )
        self._ends: Mapping[int, int] | None = None if retention is None else ends
        self._asked = asked
        self._due = time.monotonic() + (self._every or 0.0)

    def ask(self) -> None:
        """Ask for the ends if it is time; the source must not be in use.

        Ends that were not reached yet are waited for: newer ones would take ever longer.
        """
        if self._every is None or self._ends is not None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every
        asked = self._clock()
        try:
            self._ends = self._source.end_offsets()
        except UNTOLD:
            return
        self._asked = asked

    def at(self, positions: Sequence[Position]) -> float | None:
        """The unix time at which these positions show the index caught up; each only once."""
        if self._ends is None or not reached(positions, self._ends):
            return None
        self._ends = None
        return self._asked

    def missed(self, before: float, now: float) -> bool:
        """Whether deletes may have been missed between two times of being caught up.

        A retention of less than some minutes is shorter than what usually lies between two.

        Args:
            before: the one that is stored; 0 for none.
            now: the next.
        """
        if self._retention is None or self._every is None:
            return False
        return 0 < before < now - max(self._retention * SHARE, 2 * self._every)
