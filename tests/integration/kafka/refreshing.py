"""The consumer, which asks four times a second whether it is caught up, and not once a minute."""

from __future__ import annotations

import sys

from streamlsh_kafka import cli, replaying

if __name__ == "__main__":
    setattr(replaying, "LEAST_REFRESH_SECONDS", 0.25)  # noqa: B010 - a constant to everyone else
    sys.exit(cli.main(sys.argv[1:]))
