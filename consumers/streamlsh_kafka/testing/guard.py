"""Run a command for exactly as long as whoever started this process lives.

``python -m streamlsh_kafka.testing.guard DIRECTORY COMMAND...`` prints the command's process id.
When its standard input ends (the parent closed it, or died in whatever way) it stops the command
and removes DIRECTORY. It ends by itself, and leaves the directory, when the command does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

STOP_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Start the command, wait for it or for the parent; return the command's exit code."""
    directory, *command = arguments
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    print(process.pid, flush=True)
    parent_is_gone = threading.Event()
    watch = threading.Thread(
        target=_stop_with_parent, args=(process, directory, parent_is_gone), daemon=True
    )
    watch.start()
    code = process.wait()
    if parent_is_gone.is_set():
        watch.join()
    return code


def _stop_with_parent(
    process: subprocess.Popen[bytes], directory: str, parent_is_gone: threading.Event
) -> None:
    while os.read(0, 1024):
        pass
    parent_is_gone.set()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
