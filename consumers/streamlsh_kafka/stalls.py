"""Finds out that a client has fallen silent about some of its partitions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

LOOKS: Final = 4
"""How often it is looked in the time for which silence is borne."""
PAUSE_SECONDS: Final = 1.0
"""A pause between two polls counts for no more than this: nobody asked the client meanwhile."""
POLL_SECONDS: Final = 10.0
"""A poll for no more than this: in a longer one the process slept, or no broker answered."""
TURNS: Final = 20
"""Of so many partitions that are behind each has its turn in the time for which silence is borne:
a fetch may be full with what there is of one."""


class StallWatch:
    """Knows partitions of which a client brings nothing, although there is something.

    Busy partitions say nothing of the others, so each is watched on its own.

    Args:
        seconds: for how long that is borne, and longer if more than `TURNS` are behind.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.forget()

    def forget(self) -> None:
        """Begin anew: the client went elsewhere, or nobody could have brought anything."""
        self._now = 0.0  # of a clock that runs while the client is asked
        self._asked_until = time.monotonic()
        self._look_at = self._seconds / LOOKS
        # By partition, where it has stood behind its end, and since when.
        self._behind: dict[int, tuple[int, float]] = {}

    def due(self, asked: float) -> bool:
        """Whether it is time to look; to be called after every poll of the client.

        Args:
            asked: when that poll began, of the monotonic clock.
        """
        now = time.monotonic()
        self._now += min(now - asked, POLL_SECONDS)
        self._now += min(asked - self._asked_until, PAUSE_SECONDS)
        self._asked_until = now
        return self._now >= self._look_at

    def look(self, at: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """Partitions that have been silent for too long, and how far they are behind.

        Args:
            at: by partition, how far the client has come.
            ends: by partition, how far it could have come by now.
        """
        self._look_at = self._now + self._seconds / LOOKS
        behind = {}
        for partition, offset in at.items():
            if offset < ends.get(partition, 0):
                before, since = self._behind.get(partition, (offset, self._now))
                behind[partition] = (offset, since if before == offset else self._now)
        self._behind = behind
        borne = self._seconds * max(1.0, len(behind) / TURNS)
        return {
            partition: ends[partition] - offset
            for partition, (offset, since) in behind.items()
            if self._now - since >= borne
        }
