"""Where the simulation takes the world's place: clock, client library and threads."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import streamlsh_kafka.observers
from streamlsh_kafka.connection import Connection
from streamlsh_kafka.errors import BrokerUnreachableError
from tests.conftest import shrink_parts
from tests.simulation.client import Admin, Consumer, Producer
from tests.simulation.process import SimulatedProcess
from tests.simulation.stepping import SteppedExecutor
from tests.simulation.world import World

_PACKAGES = ("streamlsh", "streamlsh_kafka")


class Stage:
    """What the patched names lead to.

    Attributes:
        world: the run that is being played.
    """

    world: World

    def process(self) -> SimulatedProcess:
        """The process that runs now."""
        process = self.world.process
        assert process is not None
        return process

    def __getattr__(self, name: str) -> Any:
        """The clock's functions, in place of those of the module ``time``: its own before a run."""
        return getattr(self.world.clock if "world" in vars(self) else time, name)


@contextmanager
def simulated() -> Iterator[Stage]:
    """Put the simulation in the world's place for as long as the block lasts.

    The index's parts are made so small that a few dozen updates meet merges and reclaim.
    """
    stage = Stage()

    def check(_connection: Connection, _topic: str = "") -> bool:
        process = stage.process()
        process.step("connect")
        if process.broker.away:
            process.unanswered()
            raise BrokerUnreachableError("nobody answers", address="simulated:9092")
        return True

    logger = logging.getLogger(streamlsh_kafka.__name__)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        shrink_parts(patch)
        patch.setattr("streamlsh.writing.HASH_ASIDE", 1 << 30)
        # Reading the table of mounts takes a tenth of a run, and says the same every time.
        patch.setattr("streamlsh.storage.environment.refuse_network_filesystem", lambda _: None)
        for name, module in list(sys.modules.items()):
            if name.startswith(_PACKAGES) and getattr(module, "time", None) is time:
                patch.setattr(module, "time", stage)
        patch.setattr("streamlsh.applying.steady_time", lambda: stage.monotonic())  # noqa: PLW0108 - of the run
        source, letters = "streamlsh_kafka.kafka_source", "streamlsh_kafka.dead_letters"
        topic = "streamlsh_kafka.topic"
        patch.setattr(f"{source}.check_connection", check)
        patch.setattr(f"{topic}.KafkaAdminClient", lambda **_: Admin(stage.process()))
        patch.setattr(f"{source}.KafkaConsumer", lambda **s: Consumer(stage.process(), s))
        patch.setattr(f"{source}.read_faster", lambda _: None)
        patch.setattr(f"{source}.go_to", Consumer.go_to)
        patch.setattr(f"{source}.epoch_of", Consumer.epoch_of)
        patch.setattr(f"{source}.ask_where_logs_diverge", Consumer.ask_where_logs_diverge)
        patch.setattr(f"{letters}.topic_exists", check)
        patch.setattr(f"{letters}.KafkaProducer", lambda **s: Producer(stage.process(), s))
        patch.setattr(
            "streamlsh_kafka.batches.ThreadPoolExecutor",
            lambda *_, **__: SteppedExecutor(stage.process()),
        )
        # A consumer looks for garbage while its broker is away; here it is done thousands of times,
        # in a process that holds all of the tests.
        gc.freeze()
        try:
            yield stage
        finally:
            gc.unfreeze()
            logger.setLevel(level)
