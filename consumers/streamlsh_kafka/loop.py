"""The ingest loop: one piece for every source, so that all keep the same promises."""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from streamlsh import CommitResult, Position, Writer
from streamlsh_kafka.batches import Batch, BatchBounds, Feed, prepare
from streamlsh_kafka.dead_letters import DeadLetters
from streamlsh_kafka.decoders import Decoder
from streamlsh_kafka.errors import DeadLetterError, PoisonRecordError, SourceClosedError
from streamlsh_kafka.logs import event
from streamlsh_kafka.replaying import CaughtUp, Replay, begin_replay
from streamlsh_kafka.source import Source, never, reached
from streamlsh_kafka.wire import decode_update

COLLECT_AFTER = 100_000
"""New objects after which the loop's process looks for garbage cycles."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one commit did.

    Attributes:
        records: records read, good and bad.
        payload_bytes: bytes of their values.
        dead_letters: how many were set aside, by reason.
        result: the library's own account of the commit.
        positions: the positions that were stored with it.
        prepare_seconds: dead letters, and what hashing took longer than the commit before.
        commit_seconds: the commit alone.
        newest_timestamp: of the records in it, in milliseconds since the epoch; 0 without any.
    """

    records: int
    payload_bytes: int
    dead_letters: Mapping[str, int]
    result: CommitResult
    positions: Sequence[Position]
    prepare_seconds: float
    commit_seconds: float
    newest_timestamp: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run of the loop did."""

    records: int = 0
    commits: int = 0
    dead_letters: int = 0


class Observer(Protocol):
    """Is told what happened, after it is durable; it must not raise."""

    def committed(self, report: BatchReport) -> None:
        """A batch was committed."""

    def polled(self, source: Source) -> None:
        """The source was asked, with or without result: a chance to do periodic work."""

    def close(self) -> None:
        """The loop ends."""


def _pass_by() -> None:
    """Do nothing."""


def consume(
    writer: Writer,
    source: Source,
    *,
    decoder: Decoder = decode_update,
    dead_letters: DeadLetters | None = None,
    until_end: bool = False,
    bounds: BatchBounds | None = None,
    observers: Sequence[Observer] = (),
    stop_requested: Callable[[], bool] = never,
    clock: Callable[[], float] = time.time,
) -> Summary:
    """Bring an index up to date with a source, and keep it so.

    For each batch, in this order:

    1. poll: take what is there; while there is more, go on up to the bounds;
    2. decode and validate every record;
    3. put those that cannot be applied to the dead letters, and wait for the acknowledgement;
    4. commit all updates together with the positions after them, atomically and durably;
    5. tell the observers.

    Steps 1 and 2 are done in a thread of their own, which is up to two batches ahead during a
    backlog, and the writer hashes in another. Nothing of a batch counts before its own commit.

    A crash anywhere leaves the index at the last commit, and the source is read again from there:
    no update is lost or applied twice. Dead letters of a batch that was not committed are written
    again, so they may come twice; their origin headers tell.

    If the source may have forgotten deletes since the index was last caught up, it is read from
    its beginning once more and what is no longer there is removed (`replaying`).

    Args:
        writer: the index; its stored positions are where the source starts.
        source: where updates come from. Neither is closed here. Whoever asks for a stop may close
            the source: what it waits for then, of a broker that hangs for one, is given up.
        decoder: turns a record into an update; it is called in another thread.
        dead_letters: where bad records go. Without it, the first bad record stops the loop.
        until_end: return once the end that the source had at the start is reached.
        bounds: limits on the size of a batch.
        observers: are told about every commit.
        stop_requested: asked between batches; the batch in hand is finished, unless its dead
            letters cannot be stored.
        clock: unix time. Nothing depends on it but when a replay is taken to be necessary.

    Raises:
        PoisonRecordError: a bad record, and no dead letters; all before it is committed.
        DeadLetterError: dead letters were not acknowledged; nothing of the batch is committed.
        SourceError, ConnectionFailedError: the source cannot be followed.
        SourceClosedError: the source was closed, but there is no request to stop.
        FencedError: another writer took the index over.
    """
    course = _Course(
        writer, source, decoder, dead_letters, until_end, bounds or BatchBounds(), observers,
        stop_requested, clock,
    )  # fmt: skip
    try:
        while course.follow():
            pass
    except (DeadLetterError, SourceClosedError) as error:
        # Nothing of a batch that was given up is committed: the next start meets it.
        if not stop_requested():
            raise
        event(_log, logging.WARNING, "given_up", error=str(error))
    finally:
        writer.discard()
        for observer in observers:
            observer.close()
    return course.summary


@dataclass(slots=True)
class _Course:
    """One run of the loop, which may have to start over; see `consume`.

    Attributes:
        summary: of all that was committed so far.
        replays: whether another replay can mend what was missed; not if the last one took so long
            that it may have missed deletes itself, nor if it was refused.
    """

    writer: Writer
    source: Source
    decoder: Decoder
    dead_letters: DeadLetters | None
    until_end: bool
    bounds: BatchBounds
    observers: Sequence[Observer]
    stop_requested: Callable[[], bool]
    clock: Callable[[], float]
    summary: Summary = Summary()
    replays: bool = True
    _started_over: bool = False

    def follow(self) -> bool:
        """Follow the source until there is an end or a request to stop.

        Returns:
            Whether to start over, because deletes may have been missed meanwhile.
        """
        writer, source = self.writer, self.source
        source.start(writer.positions)
        _pass_gaps(writer, source)
        asked = self.clock()
        ends = source.end_offsets()
        retention = source.delete_retention()
        first_start = retention is not None and not writer.positions
        caught_up = CaughtUp(source, retention, self.clock, ends, asked)
        replay = begin_replay(writer, source, retention, asked)
        self.replays = self.replays and (replay is not None or not self._started_over)

        def at_rest() -> None:
            caught_up.ask()
            if replay:
                replay.ask()
            for observer in self.observers:
                observer.polled(source)

        replay = _end_if_finished(replay, at := source.positions())
        if self.until_end and reached(source.positions(), ends):
            moment = caught_up.at(source.positions())
            if moment is not None and not caught_up.missed(writer.caught_up, moment):
                writer.commit(caught_up=moment)
            return False
        floors = replay.floors if replay else {}
        until = ends if self.until_end else None
        with (
            _few_collections(),
            Feed(source, self.bounds, self.decoder, writer, until, floors) as feed,
        ):
            while not (self.stop_requested() or feed.exhausted):
                batch = feed.take(at_rest)
                moment = caught_up.at(batch.positions)
                if first_start and not writer.caught_up:
                    # An index that holds nothing yet misses no delete from here on.
                    moment = moment or asked
                missed = moment is not None and caught_up.missed(writer.caught_up, moment)
                self._finish(batch, replay, None if missed else moment)
                at = batch.positions
                if replay and replay.finished(at):
                    replay.end()
                    replay = None
                    missed = caught_up.missed(writer.caught_up, self.clock())
                    self.replays = not missed
                    if missed:
                        event(
                            _log,
                            logging.WARNING,
                            "replay_too_slow",
                            topic=source.stream,
                            error="deletes may have been missed meanwhile: raise the topic's "
                            "delete.retention.ms, and start again",
                        )
                if missed and not replay and self.replays:
                    self._started_over = True
                    return True
        _end_if_finished(replay, at)
        return False

    def _finish(self, batch: Batch, replay: Replay | None, moment: float | None) -> None:
        """Commit a batch, if there is anything to store, and tell the observers."""
        positions = _moved(self.writer, batch, replay)
        if not (batch.records or positions or moment is not None):
            return
        report = _apply(self.writer, batch, positions, self.decoder, self.dead_letters, moment)
        self.summary = Summary(
            self.summary.records + report.records,
            self.summary.commits + 1,
            self.summary.dead_letters + len(batch.dead_letters),
        )
        for observer in self.observers:
            observer.committed(report)


def _end_if_finished(replay: Replay | None, at: Sequence[Position]) -> Replay | None:
    """End a replay that has nothing left to read; the source must not be in use."""
    if replay is None:
        return None
    replay.finished(at)
    replay.ask()
    if not replay.finished(at):
        return replay
    replay.end()
    return None


def _pass_gaps(writer: Writer, source: Source) -> None:
    """Store where the source went on after a gap that it may pass, though nothing follows."""
    writer.commit([p for p in source.positions() if (p.stream, p.partition) in writer.positions])


@contextmanager
def _few_collections() -> Iterator[None]:
    """Let Python look for garbage cycles less often.

    Records and updates come and go by the thousand, and none of them is part of a cycle; at the
    usual setting looking at them again and again takes a tenth of the time.
    """
    usual = gc.get_threshold()
    if usual[0]:  # 0 means never, and stays so
        gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _moved(writer: Writer, batch: Batch, replay: Replay | None) -> list[Position]:
    """The positions that differ from what the index holds."""
    stored = writer.positions
    return [
        position
        for position in (replay.positions(batch.positions) if replay else batch.positions)
        if stored.get((position.stream, position.partition)) != position
    ]


def _apply(
    writer: Writer,
    batch: Batch,
    positions: Sequence[Position],
    decoder: Decoder,
    dead_letters: DeadLetters | None,
    caught_up: float | None,
) -> BatchReport:
    """Set a batch's bad records aside, and commit the good ones with the positions."""
    started = time.perf_counter()
    if batch.dead_letters:
        if dead_letters is None:
            _stop_before(writer, batch, positions, decoder)
        dead_letters.put(batch.dead_letters)
    writer.stage(batch.updates)
    writer.mark_seen(batch.seen)
    batch.updates.wait()
    prepared = time.perf_counter()
    result = writer.commit(positions, caught_up=caught_up)
    return BatchReport(
        records=len(batch.records),
        payload_bytes=batch.payload_bytes,
        dead_letters=Counter(letter.reason for letter in batch.dead_letters),
        result=result,
        positions=[p for p in positions if p in batch.positions],
        prepare_seconds=prepared - started,
        commit_seconds=time.perf_counter() - prepared,
        newest_timestamp=max((record.timestamp for record in batch.records), default=0),
    )


def _stop_before(
    writer: Writer, batch: Batch, positions: Sequence[Position], decoder: Decoder
) -> NoReturn:
    """Commit what comes before the first bad record, and raise."""
    letter = batch.dead_letters[0]
    first = next(i for i, record in enumerate(batch.records) if record is letter.record)
    updates, _ = prepare(batch.records[:first], decoder, writer)
    writer.stage(updates)
    writer.mark_seen(batch.seen)
    # A partition goes on at its first record that is left out, or else where the source stands.
    left_out: dict[int, int] = {}
    for record in batch.records[first:]:
        left_out.setdefault(record.partition, record.offset)
    writer.commit([replace(p, offset=left_out.get(p.partition, p.offset)) for p in positions])
    raise PoisonRecordError(
        stream=letter.record.topic,
        partition=letter.record.partition,
        offset=letter.record.offset,
        reason=letter.reason,
        detail=letter.detail,
    )
