"""A copy of the index's offsets in a consumer group, for the usual lag tools."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import kafka.errors
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from streamlsh import Position
from streamlsh_kafka.connection import Connection
from streamlsh_kafka.logs import event
from streamlsh_kafka.loop import BatchReport
from streamlsh_kafka.source import Source
from streamlsh_kafka.topic import ASK_MS

MIRROR_SECONDS: Final = 1.0
"""How often positions are copied, if they change."""
CLOSE_SECONDS: Final = 3.0
"""How long the last copy is tried."""
ANSWER_SECONDS: Final = 1.0
"""How long one answer is waited for then."""
RETRY_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)


class GroupMirror:
    """Copies the index's offsets to a consumer group, in a thread that holds up nothing.

    The copy is never read back, and its failures are only logged: the index holds the truth.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self._group = group
        self._admin = KafkaAdminClient(request_timeout_ms=ASK_MS, **connection.client_settings())
        self._changed = threading.Condition()
        self._pending: dict[tuple[str, int], Position] = {}
        self._closing = self._closed = False
        self._asked_at: float | None = None  # when there is no answer yet
        self._refused_for_good = False  # the last time
        self._thread = threading.Thread(target=self._mirror, name="streamlsh-mirror", daemon=True)
        self._thread.start()

    def committed(self, report: BatchReport) -> None:
        """Have the positions copied, at most once a second."""
        with self._changed:
            self._pending |= {(p.stream, p.partition): p for p in report.positions}
            self._changed.notify()

    def polled(self, source: Source) -> None:
        """Nothing is asked of the source."""

    def close(self) -> None:
        """Copy the last positions and close the connection.

        A group's coordinator may still be starting, so this is tried for a few seconds; one that
        does not answer at all, or refuses this for another reason, is given up sooner.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            asked_at = self._asked_at
            if asked_at is not None and time.monotonic() - asked_at > ANSWER_SECONDS:
                event(_log, logging.WARNING, "mirror_given_up", group=self._group)
                break
            self._thread.join(RETRY_SECONDS)
        self._closed = True
        self._admin.close()

    def _mirror(self) -> None:
        """Copy what is pending, until there is nothing left and no more to come."""
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                positions = dict(self._pending)
            if not positions:
                return
            if self._write(positions):
                with self._changed:
                    left = self._pending.items() - positions.items()
                    self._pending = dict(left)
            elif self._closing:
                if self._refused_for_good:
                    return
                time.sleep(RETRY_SECONDS)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, MIRROR_SECONDS)

    def _write(self, positions: dict[tuple[str, int], Position]) -> bool:
        offsets = {
            TopicPartition(*key): OffsetAndMetadata(position.offset)
            for key, position in positions.items()
        }
        self._asked_at = time.monotonic()
        try:
            answers = self._admin.alter_group_offsets(self._group, offsets)
            refused = {a for a in answers.values() if a is not kafka.errors.NoError}
        except Exception as error:  # noqa: BLE001 - an observer, in a thread of its own
            if self._closed:
                return False  # a client that is closed in use raises one thing or another
            refused = {type(error)}
        finally:
            self._asked_at = None
        self._refused_for_good = not all(
            issubclass(kind, kafka.errors.RetriableError) for kind in refused
        )
        if refused:
            names = ",".join(sorted(kind.__name__ for kind in refused))
            event(_log, logging.WARNING, "mirror_failed", group=self._group, error=names)
        return not refused
