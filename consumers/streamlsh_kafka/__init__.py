"""Keep a streamlsh index up to date with a Kafka topic, or with a local update log.

with streamlsh.writer("items.lsh") as writer:
    source = KafkaSource(Connection("localhost:9092"), "items")
    consume(writer, source, until_end=True)

The names below are loaded when they are first used, as those of ``streamlsh`` are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlsh_kafka.batches import BatchBounds
    from streamlsh_kafka.connection import Connection, check_connection
    from streamlsh_kafka.dead_letters import (
        DeadLetter,
        DeadLetters,
        KafkaDeadLetters,
        UpdateLogDeadLetters,
    )
    from streamlsh_kafka.decoders import Decoder, load_decoder
    from streamlsh_kafka.errors import ConsumerError, DecodeError
    from streamlsh_kafka.group_mirror import GroupMirror
    from streamlsh_kafka.kafka_source import KafkaSource
    from streamlsh_kafka.loop import BatchReport, Observer, Summary, consume
    from streamlsh_kafka.observers import ProgressLog, SnapshotWatch
    from streamlsh_kafka.producing import TopicSink, UpdateLogSink, new_producer, read_updates
    from streamlsh_kafka.source import RawRecord, Record, Source
    from streamlsh_kafka.update_log import UpdateLogAppender, UpdateLogSource
    from streamlsh_kafka.wire import decode_update, encode_update

__all__ = [
    "BatchBounds",
    "BatchReport",
    "Connection",
    "ConsumerError",
    "DeadLetter",
    "DeadLetters",
    "DecodeError",
    "Decoder",
    "GroupMirror",
    "KafkaDeadLetters",
    "KafkaSource",
    "Observer",
    "ProgressLog",
    "RawRecord",
    "Record",
    "SnapshotWatch",
    "Source",
    "Summary",
    "TopicSink",
    "UpdateLogAppender",
    "UpdateLogDeadLetters",
    "UpdateLogSink",
    "UpdateLogSource",
    "check_connection",
    "consume",
    "decode_update",
    "encode_update",
    "load_decoder",
    "new_producer",
    "read_updates",
]

_SOURCES = {
    "BatchBounds": "batches",
    "BatchReport": "loop",
    "Connection": "connection",
    "ConsumerError": "errors",
    "DeadLetter": "dead_letters",
    "DeadLetters": "dead_letters",
    "DecodeError": "errors",
    "Decoder": "decoders",
    "GroupMirror": "group_mirror",
    "KafkaDeadLetters": "dead_letters",
    "KafkaSource": "kafka_source",
    "Observer": "loop",
    "ProgressLog": "observers",
    "RawRecord": "source",
    "Record": "source",
    "SnapshotWatch": "observers",
    "Source": "source",
    "Summary": "loop",
    "TopicSink": "producing",
    "UpdateLogAppender": "update_log",
    "UpdateLogDeadLetters": "dead_letters",
    "UpdateLogSink": "producing",
    "UpdateLogSource": "update_log",
    "check_connection": "connection",
    "consume": "loop",
    "decode_update": "wire",
    "encode_update": "wire",
    "load_decoder": "decoders",
    "new_producer": "producing",
    "read_updates": "producing",
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module 'streamlsh_kafka' has no attribute {name!r}")
    value = getattr(import_module(f"streamlsh_kafka.{_SOURCES[name]}"), name)
    globals()[name] = value
    return value
