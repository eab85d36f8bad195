"""The consumer, on a clock that jumps: ``python -m tests.faults.jumping run ...``.

It is ``streamlsh-kafka run ...`` whose wall clock is set ten years forward by the first SIGUSR1,
and by every further one twenty years back.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

YEAR = 365 * 86_400.0


def main() -> int:
    """Take the place of the clock before anything keeps it, and run the real command line."""
    real, ahead = time.time, 0.0

    def jump(_number: int, _frame: FrameType | None) -> None:
        nonlocal ahead
        ahead += 10 * YEAR if not ahead else -20 * YEAR

    signal.signal(signal.SIGUSR1, jump)
    time.time = lambda: real() + ahead

    # Only now: its defaults hold the clock.
    from streamlsh_kafka import cli

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
