"""A producer process that sends at a steady rate and stamps the time just before each send.

``python -m tests.bench.paced BOOTSTRAP_SERVERS TOPIC RATE FOLDER``: the folder holds
``ids.json``, ``vectors.npy`` and ``stamps.npy``; the last is a shared mapping that the times
(``time.monotonic()``, the same clock in every process) are written to.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import streamlsh
from streamlsh_kafka import Connection, encode_update, new_producer

LINGER_MS = 1
LEAD_SECONDS = 0.2


def main(arguments: list[str]) -> None:
    """Send every update at its time, or as soon after it as this process can."""
    servers, topic, rate_text, folder_text = arguments
    rate, folder = float(rate_text), Path(folder_text)
    ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    stamps = np.load(folder / "stamps.npy", mmap_mode="r+")
    updates = zip(ids, vectors, strict=True)
    messages = [encode_update(streamlsh.Upsert(name, vector)) for name, vector in updates]
    producer = new_producer(Connection(servers), linger_ms=LINGER_MS)
    try:
        producer.partitions_for(topic)  # the first send would wait for this
        start = time.monotonic() + LEAD_SECONDS
        for number, (key, value, _) in enumerate(messages):
            left = start + number / rate - time.monotonic()
            if left > 0:
                time.sleep(left)
            stamps[number] = time.monotonic()
            producer.send(topic, key=key, value=value, partition=0)
        producer.flush()
    finally:
        producer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
