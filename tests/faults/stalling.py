"""The consumer, with a client that stalls: ``python -m tests.faults.stalling run ...``.

It is ``streamlsh-kafka run ...`` whose first client never delivers anything, as clients have done
for real; there is no way to make one do it on purpose. With ``STREAMLSH_SILENT_PARTITION`` it is
silent about that partition only. ``STREAMLSH_STALL_SECONDS`` is for how long that is borne.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from streamlsh_kafka import cli
from streamlsh_kafka.kafka_source import KafkaSource


def make_deaf(client: Any) -> None:
    """Let a client deliver nothing, or nothing of one partition."""
    silent = os.environ.get("STREAMLSH_SILENT_PARTITION")
    if silent is None:
        client.poll = lambda **_: {}
    else:
        client.pause(*[tp for tp in client.assignment() if tp.partition == int(silent)])


def main() -> int:
    """Make the first client deaf, and run the real command line."""
    patience = float(os.environ.get("STREAMLSH_STALL_SECONDS", "1"))
    defaults = KafkaSource.__init__.__kwdefaults__
    assert defaults is not None
    defaults["stall_seconds"] = patience
    make = KafkaSource._new_consumer
    made: list[Any] = []

    def make_the_first_deaf(source: KafkaSource) -> Any:
        client = make(source)
        if not made:
            make_deaf(client)
        made.append(client)
        return client

    KafkaSource._new_consumer = make_the_first_deaf  # type: ignore[method-assign, assignment]
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
