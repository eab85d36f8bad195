"""Keep a streamlsh index up to date with a Kafka topic, or with a local update log.

with streamlsh.writer("items.lsh") as writer:
    source = KafkaSource(Connection("localhost:9092"), "items")
    consume(writer, source, until_end=True)
"""

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
from streamlsh_kafka.kafka_source import KafkaSource
from streamlsh_kafka.loop import BatchReport, Observer, Summary, consume
from streamlsh_kafka.observers import GroupMirror, ProgressLog, SnapshotWatch
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
