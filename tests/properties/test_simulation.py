"""Short runs of the simulation, and what it finds in a consumer that was broken on purpose.

``python -m tests.simulation`` plays as many runs as you like.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import streamlsh
from streamlsh import CommitResult, Delete, Position, Upsert, Upserts
from streamlsh.preparing import PreparedUpdates
from streamlsh_kafka import KafkaDeadLetters, KafkaSource
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.stalls import StallWatch
from tests.simulation.__main__ import main
from tests.simulation.faults import KINDS, SEAMS, schedule
from tests.simulation.running import Tally, play_all, play_part, shorten

SECONDS = 10.0
FEWEST = 20


def failed(tally: Tally) -> bool:
    return bool(tally.failures)


def test_whatever_happens_the_index_is_the_topic_up_to_its_positions() -> None:
    deadline = time.monotonic() + SECONDS
    tally = play_all(
        range(1_000_000),
        stop=lambda so_far: (
            failed(so_far) or (so_far.runs >= FEWEST and time.monotonic() >= deadline)
        ),
    )
    assert not tally.failures, f"{tally.failures[0].message}\n{tally.failures[0].command()}"


def test_all_kinds_of_events_are_drawn_and_crashes_strike_everywhere() -> None:
    events = [event for seed in range(300) for event in schedule(seed)]
    assert {event.kind for event in events} == set(KINDS)
    assert {event.seam for event in events if event.kind == "crash"} == set(SEAMS)


def test_a_seed_decides_everything_in_any_process() -> None:
    traces = set()
    for hash_seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--runs", "1", "--seed", "8", "--trace"],
            capture_output=True, text=True, timeout=120, check=True,
            cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        traces.add(ended.stdout.partition(" runs in ")[0])
    assert len(traces) == 1
    assert "commits CommitResult" in traces.pop()


class Broken:
    """Breaks the consumer, each in one small way."""

    @staticmethod
    def positions_before_updates(patch: pytest.MonkeyPatch) -> None:
        commit = streamlsh.Writer.commit

        def in_two(
            self: streamlsh.Writer,
            positions: Iterable[Position] = (),
            *,
            caught_up: float | None = None,
        ) -> CommitResult:
            parts, self._parts = self._parts, []
            commit(self, positions)
            self._parts = parts
            return commit(self, caught_up=caught_up)

        patch.setattr(streamlsh.Writer, "commit", in_two)

    @staticmethod
    def a_dead_letter_dropped(patch: pytest.MonkeyPatch) -> None:
        put = KafkaDeadLetters.put

        def put_all_but_one(self: KafkaDeadLetters, letters: Sequence[DeadLetter]) -> None:
            put(self, letters[1:])

        patch.setattr(KafkaDeadLetters, "put", put_all_but_one)

    @staticmethod
    def versions_ignored(patch: pytest.MonkeyPatch) -> None:
        prepare = streamlsh.Writer.prepare

        def bad(version: int | None) -> int | None:
            return None if version is None or version >= 0 else version

        def without(update: Upsert | Delete | Upserts) -> Upsert | Delete | Upserts:
            if isinstance(update, Upserts):
                return Upserts(
                    update.ids, update.vectors, [*map(bad, update.versions or ())] or None
                )
            return replace(update, version=bad(update.version))

        def prepare_without(
            self: streamlsh.Writer, updates: Iterable[Upsert | Delete | Upserts]
        ) -> PreparedUpdates:
            return prepare(self, map(without, updates))

        patch.setattr(streamlsh.Writer, "prepare", prepare_without)

    @staticmethod
    def a_record_skipped_at_a_gap(patch: pytest.MonkeyPatch) -> None:
        below_start = KafkaSource._below_start

        def one_further(self: KafkaSource, partition: int, offset: int, start: int) -> int:
            return below_start(self, partition, offset, start) + 1

        patch.setattr(KafkaSource, "_below_start", one_further)

    @staticmethod
    def leaders_not_stored(patch: pytest.MonkeyPatch) -> None:
        positions = KafkaSource.positions

        def without(self: KafkaSource) -> list[Position]:
            return [replace(position, epoch=None) for position in positions(self)]

        patch.setattr(KafkaSource, "positions", without)

    @staticmethod
    def busy_partitions_vouch_for_silent_ones(patch: pytest.MonkeyPatch) -> None:
        look = StallWatch.look
        before: dict[int, int] = {}

        def look_at_all(
            self: StallWatch, at: Mapping[int, int], ends: Mapping[int, int]
        ) -> dict[int, int]:
            silent = look(self, at, ends)
            moved = any(before.get(partition, 0) != offset for partition, offset in at.items())
            before.update(at)
            return {} if moved or len(silent) < len(at) else silent

        patch.setattr(StallWatch, "look", look_at_all)

    @staticmethod
    def a_stale_epoch_accepted(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("streamlsh.commit._check_fence", lambda *_: None)


@pytest.mark.parametrize(
    ("broken", "kinds"),
    [
        (Broken.positions_before_updates, {"commits", "content", "counts"}),
        (Broken.a_dead_letter_dropped, {"poison passed"}),
        (Broken.versions_ignored, {"content"}),
        (Broken.a_record_skipped_at_a_gap, {"skipped", "wrong OffsetBeyondEndError"}),
        (Broken.leaders_not_stored, {"other records"}),
        (Broken.busy_partitions_vouch_for_silent_ones, {"no end"}),
        (Broken.a_stale_epoch_accepted, {"zombie"}),
    ],
)
def test_a_consumer_broken_on_purpose_is_found_out(
    broken: Any, kinds: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    tally = play_all(range(400), stop=failed)
    assert tally.failures, f"nothing was found in {tally.runs} runs"
    assert tally.failures[0].kind in kinds


def test_a_failure_is_shortened_to_what_matters_and_can_be_played_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Broken.a_stale_epoch_accepted(monkeypatch)
    failure = play_all(range(400), stop=failed).failures[0]
    shortest = shorten(failure)
    assert shortest.kind == failure.kind == "zombie"
    assert len(shortest.events) < len(failure.events)
    taken_over = [e for e in schedule(failure.seed) if e.kind == "takeover"]
    assert {event.number for event in taken_over} & set(shortest.events)
    again = play_part(failure.seed, shortest.events)
    assert again.failures[0].trace == shortest.trace
    assert again.trace[-1].endswith("ends: stop")  # of the process that took over
    assert main(shortest.command().split()[3:]) == 1
    assert f"play it again: {shortest.command()}" in capsys.readouterr().out


def test_the_command_line_says_what_came_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "3", "--seed", "40", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 runs in ")
    assert "  produce\n" in printed
    for wrong in (["--trace"], ["--runs", "1", "--keep", "x"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
