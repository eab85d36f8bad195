"""A topic as its brokers describe it: which one it is, its partitions and its settings."""

from __future__ import annotations

import logging
import time
from typing import Final

import kafka.errors
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from streamlsh_kafka.connection import Connection, drop_refused, lost
from streamlsh_kafka.errors import (
    BrokerUnreachableError,
    TopicNotFoundError,
    TopicRecreatedError,
)
from streamlsh_kafka.logs import event

MISSING_SECONDS: Final = 5.0
"""A topic must be missing for so long to count as deleted: a starting broker may not know it."""
ASK_MS: Final = 5_000

_log = logging.getLogger(__name__)


class Topic:
    """The topic that had this name when it was first asked for, and no other.

    Args:
        connection: the broker, which was checked.
        name: the topic's.

    Attributes:
        name: the topic's.
        identity: its UUID.
        partitions: the numbers of all that were ever seen.

    Raises:
        BrokerUnreachableError: the broker does not answer.
        TopicNotFoundError: there is no such topic.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._admin = KafkaAdminClient(
            bootstrap_timeout_ms=ASK_MS, request_timeout_ms=ASK_MS, **connection.client_settings()
        )
        try:
            self.identity, self.partitions = self._describe()
        except BaseException:
            self.close()
            raise
        self._missing_since: float | None = None

    def confirm(self) -> bool:
        """Ask whether the topic is still the same, and for its partitions.

        Returns:
            Whether the broker says that it is.

        Raises:
            TopicRecreatedError: it is another one.
            TopicNotFoundError: it has been missing for a while.
        """
        try:
            identity, partitions = self._describe()
        except BrokerUnreachableError as error:
            # Brokers restart. The client reconnects by itself, and nothing is lost by waiting.
            event(_log, logging.WARNING, "broker_unreachable", error=str(error))
            drop_refused()
            self._missing_since = None
            return False
        except TopicNotFoundError as error:
            now = time.monotonic()
            # From when it was missed first: nobody may have asked for long before.
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since >= MISSING_SECONDS:
                raise
            event(_log, logging.WARNING, "topic_missing", error=str(error))
            return False
        self._missing_since = None
        if identity != self.identity:
            raise TopicRecreatedError(stream=self.name, expected=self.identity, received=identity)
        # Topics lose no partitions; a broker that lags behind may not know the newest.
        self.partitions = sorted({*self.partitions, *partitions})
        return True

    def delete_retention(self) -> float | None:
        """Its ``delete.retention.ms`` in seconds, if it is compacted.

        A user who may not see the topic's settings gets a warning, and no replay ever.
        """
        topic = ConfigResource(ConfigResourceType.TOPIC, self.name)
        try:
            [settings] = self._admin.describe_configs([topic], config_filter="all").values()
            found = settings[self.name]
            if "compact" not in found["cleanup.policy"]["value"]:
                return None
            return int(found["delete.retention.ms"]["value"]) / 1000
        except (kafka.errors.KafkaError, KeyError) as error:
            event(_log, logging.WARNING, "retention_unknown", topic=self.name, error=repr(error))
            return None

    def close(self) -> None:
        """Close the connection; an answer that another thread waits for is an error then."""
        self._admin.close()

    def _describe(self) -> tuple[str, list[int]]:
        try:
            [topic] = self._admin.describe_topics([self.name])
        except kafka.errors.KafkaError as error:
            raise lost(self._connection, error) from error
        if topic["error_code"]:
            reason = kafka.errors.for_code(topic["error_code"]).__name__
            raise TopicNotFoundError(
                f"topic {self.name} cannot be read ({reason}): create it, or check its name "
                "and this user's rights",
                stream=self.name,
            )
        return str(topic["topic_id"]), sorted(p["partition_index"] for p in topic["partitions"])
