"""Open an index in a thread of its own: ``python -m tests.integration.opening_aside PATH``.

``waiting`` says that the opening thread sleeps and that others run meanwhile; then comes how many
items there are.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import streamlsh
from streamlsh.storage import environment
from streamlsh.storage.handle import open_databases

DEADLINE = 60.0
"""Seconds after which the process ends itself, whatever its threads wait for."""


def main(path: str) -> None:
    about_to = threading.Event()

    def noted(handle: Any) -> Any:
        about_to.set()
        return open_databases(handle)

    def opens() -> None:
        with streamlsh.open(path) as reader:
            count.append(len(reader))

    count: list[int] = []
    opener = threading.Thread(target=opens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "open_databases", noted)
        opener.start()
        assert about_to.wait(DEADLINE)
        status = Path(f"/proc/self/task/{opener.native_id}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "S":
            pass
        print("waiting", flush=True)
        opener.join()
    print(*count)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(DEADLINE, exit=True)
    main(sys.argv[1])
