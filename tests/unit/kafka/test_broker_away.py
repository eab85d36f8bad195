"""A broker that is away for long: what its client leaves behind does not pile up."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import kafka.errors
import pytest

from streamlsh_kafka import (
    Connection,
    DeadLetter,
    KafkaDeadLetters,
    RawRecord,
    dead_letters,
    kafka_source,
)
from streamlsh_kafka.errors import DeadLetterError
from tests.unit.kafka.clients import Client, described, source_on


class Refused:
    """A connection that was refused, in a cycle, as the client leaves it."""

    def __init__(self) -> None:
        self.own = self


def test_connections_that_were_refused_are_let_go_of_before_files_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While nothing is read, too few objects are made for Python to look for cycles by itself."""
    left: list[weakref.ref[Refused]] = []

    def describe(_: list[str]) -> list[dict[str, Any]]:
        if away:
            left.append(weakref.ref(Refused()))
            raise kafka.errors.KafkaTimeoutError("nobody answers")
        return [described()]

    monkeypatch.setattr(kafka_source, "TOPIC_CHECK_SECONDS", 0.0)
    away = False
    source = source_on(monkeypatch, Client(), describe)
    source.start({})
    away = True
    gc.disable()
    try:
        for _ in range(3):
            assert list(source.poll(0, 10)) == []
    finally:
        gc.enable()
    assert len(left) == 3
    assert [reference() for reference in left] == [None] * 3


def test_nor_do_they_pile_up_while_dead_letters_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[Refused]] = []

    def flush(**_: float) -> None:
        left.append(weakref.ref(Refused()))
        raise kafka.errors.KafkaTimeoutError("nobody answers")

    producer = SimpleNamespace(
        send=lambda *_, **__: SimpleNamespace(exception=None, is_done=False), flush=flush
    )
    monkeypatch.setattr(dead_letters, "topic_exists", lambda *_: True)
    monkeypatch.setattr(dead_letters, "KafkaProducer", lambda **_: producer)
    monkeypatch.setattr(dead_letters, "ATTEMPT_SECONDS", 0.0)
    monkeypatch.setattr(dead_letters, "SAY_SECONDS", 0.0)
    letters = KafkaDeadLetters(
        Connection("nowhere:1"), "dead", stop_requested=lambda: len(left) == 4
    )
    record = RawRecord("items", 0, 0, 0, b"k", b"v", ())
    letter = DeadLetter(record, "bad-msgpack", "", "ValueError")
    gc.disable()
    try:
        with pytest.raises(DeadLetterError, match="asked to stop"):
            letters.put([letter])
    finally:
        gc.enable()
    assert [reference() is None for reference in left] == [True, True, True, False]
