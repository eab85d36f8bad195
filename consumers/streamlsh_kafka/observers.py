"""What can watch the loop, and logs what it sees."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from typing import Final

from streamlsh import Writer
from streamlsh_kafka.errors import ConsumerError
from streamlsh_kafka.logs import event
from streamlsh_kafka.loop import BatchReport
from streamlsh_kafka.source import Source, lag

PERIOD_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 5.0
OLD_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


class ProgressLog:
    """One line a commit at debug, one a period at info.

    Args:
        period: seconds between the lines at info.
    """

    def __init__(self, *, period: float = PERIOD_SECONDS) -> None:
        self._period = period
        self._start_period()

    def committed(self, report: BatchReport) -> None:
        """Log the commit, and remember it for the period."""
        result = report.result
        self._records += report.records
        self._dead_letters += sum(report.dead_letters.values())
        self._commit_seconds.append(report.commit_seconds)
        event(
            _log,
            logging.DEBUG,
            "commit",
            commit=result.commit,
            records=report.records,
            bytes=report.payload_bytes,
            inserted=result.inserted,
            replaced=result.replaced,
            unchanged=result.unchanged,
            deleted=result.deleted,
            absent=result.absent,
            stale=result.stale,
            dead_letters=sum(report.dead_letters.values()),
            prepare_ms=report.prepare_seconds * 1000,
            commit_ms=report.commit_seconds * 1000,
            positions=",".join(f"{p.partition}:{p.offset}" for p in report.positions),
        )
        for reason, count in report.dead_letters.items():
            event(_log, logging.WARNING, "dead_letters", reason=reason, count=count)

    def polled(self, source: Source) -> None:
        """Log the period, if it is over."""
        seconds = time.monotonic() - self._started
        if seconds < self._period:
            return
        try:
            behind: int | None = lag(source.positions(), source.end_offsets())
        except ConsumerError:
            behind = None  # the source cannot say now; the loop will tell if that lasts
        times = self._commit_seconds
        event(
            _log,
            logging.INFO,
            "period",
            records=self._records,
            items_per_second=round(self._records / seconds, 1),
            lag="unknown" if behind is None else behind,
            commits=len(times),
            commit_ms_p50=statistics.median(times) * 1000 if times else 0.0,
            commit_ms_max=max(times) * 1000 if times else 0.0,
            dead_letters=self._dead_letters,
        )
        self._start_period()

    def close(self) -> None:
        """Nothing is held."""

    def _start_period(self) -> None:
        self._started = time.monotonic()
        self._records = 0
        self._dead_letters = 0
        self._commit_seconds: list[float] = []


class SnapshotWatch:
    """Warns of snapshots that are kept open for so long that the file has to grow.

    Args:
        writer: of the index in question.
        clock: seconds that never go back.
    """

    def __init__(self, writer: Writer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._clock = clock
        self._look_at = clock()
        self._quiet_until: dict[int, float] = {}

    def committed(self, report: BatchReport) -> None:
        """Nothing is done: the loop must not be held up."""

    def polled(self, source: Source) -> None:
        """Look who reads, if it is time, and warn of each process at most once a minute."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        self._quiet_until = {pid: end for pid, end in self._quiet_until.items() if end > now}
        for reader in sorted(self._writer.readers(), key=lambda reader: reader.transaction):
            seconds = reader.outdated_seconds or 0.0
            if seconds <= OLD_SECONDS or reader.pid in self._quiet_until:
                continue
            self._quiet_until[reader.pid] = now + OLD_SECONDS
            event(
                _log,
                logging.WARNING,
                "old_snapshot",
                pid=reader.pid,
                host=reader.host or "unknown",
                command=reader.command or "unknown",
                seconds=round(seconds),
            )

    def close(self) -> None:
        """Nothing is held."""
