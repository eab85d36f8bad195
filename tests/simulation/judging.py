"""Whether a process that ended with an error had cause to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kafka.errors

from streamlsh.errors import FencedError, StorageError
from streamlsh_kafka.errors import (
    BrokerUnreachableError,
    DeadLetterError,
    OffsetBelowStartError,
    OffsetBeyondEndError,
    PoisonRecordError,
    TopicNotFoundError,
    TopicRecreatedError,
)
from tests.simulation.broker import TOPIC
from tests.simulation.process import SimulatedProcess

if TYPE_CHECKING:
    from tests.simulation.world import World


def has_cause(
    error: Exception, world: World, process: SimulatedProcess, *, letters: bool, accept_gap: bool
) -> bool:
    """Whether an error is the one that the circumstances call for.

    Args:
        error: that the process ended with.
        world: in which it did.
        process: that ended.
        letters: whether it had a place for dead letters.
        accept_gap: whether it was told to go on after records that were removed.
    """
    if isinstance(error, FencedError):
        return process is not world.owner
    if isinstance(error, StorageError):
        return process.storage_failed
    if isinstance(error, kafka.errors.CorruptRecordError):
        return process.poll_failed
    if isinstance(error, BrokerUnreachableError | DeadLetterError):
        return process.lonely
    if isinstance(error, PoisonRecordError):
        return not letters and _is_first_poison(error, world, process)
    topic = world.broker.topic
    if isinstance(error, TopicNotFoundError):
        # By now there may be another one.
        return topic is None or topic.identity != process.identity
    if isinstance(error, TopicRecreatedError):
        return error.received in world.broker.topics and error.received != error.expected
    followed = world.broker.topics.get(str(process.identity))
    if isinstance(error, OffsetBelowStartError) and followed is not None:
        # A topic that is made anew between two questions is the one that was asked last.
        starts = [
            each.partitions[error.partition].latest_start
            for each in (followed, topic)
            if each is not None and error.partition < len(each.partitions)
        ]
        start = max(starts)
        while_it_ran = process.begun.get(error.partition, start) < start
        return error.stored < error.limit <= start and (while_it_ran or not accept_gap)
    if isinstance(error, OffsetBeyondEndError) and followed is not None:
        partition = followed.partitions[error.partition]
        # A topic that is made anew between two questions looks like one cut short.
        anew = topic is not followed and process.described == followed.identity
        return (partition.was_cut or anew) and error.stored > error.limit
    return False


def _is_first_poison(error: PoisonRecordError, world: World, process: SimulatedProcess) -> bool:
    """Whether there is (or was, before a truncation) such a record, and it is not passed."""
    partition = world.broker.topics[str(process.identity)].partitions[error.partition]
    there = partition.entries[error.offset : error.offset + 1]
    right = bool(there) and there[0].reason == error.reason
    stored = world.ledger.model.positions.get((TOPIC, error.partition))
    behind = stored is None or stored.offset <= error.offset
    # One that was taken over may stop before it has anything to write, and so be told.
    return (partition.was_cut or right) and (behind or process is not world.owner)
