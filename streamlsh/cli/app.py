"""From a command line to an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from streamlsh.cli.errors import CommandError, next_step
from streamlsh.cli.parser import build_parser
from streamlsh.errors import StreamLSHError

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what was typed after the program's name; ``sys.argv`` if left out.

    Returns:
        0 if the command did what was asked; 1 if it could not, with one line on standard error
        (and a JSON object on standard output under ``--json``); 2 if the line makes no sense;
        130 if it was interrupted.
    """
    options = build_parser().parse_args(arguments)
    try:
        _handler(options.handler)(options)
        # A closed pipe shows here, where it can be answered, and not at the exit.
        sys.stdout.flush()
    except StreamLSHError as error:
        _report(error, next_step(error), as_json=options.json)
        return error.exit_code if isinstance(error, CommandError) else 1
    except BrokenPipeError:
        # Whoever read this has seen enough; keep the interpreter from flushing once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _report(error, "", as_json=options.json)
        return 1
    except KeyboardInterrupt:
        _report(KeyboardInterrupt("interrupted"), "", as_json=options.json)
        return _INTERRUPTED
    return 0


def _handler(name: str) -> Callable[[argparse.Namespace], None]:
    module, _, function = name.partition(":")
    handler: Callable[[argparse.Namespace], None] = getattr(import_module(module), function)
    return handler


def _report(error: BaseException, step: str, *, as_json: bool) -> None:
    message = " ".join(_message(error).split())
    line = f"error: {message}; {step}" if step else f"error: {message}"
    sys.stderr.write(line.encode(errors="backslashreplace").decode() + "\n")
    if as_json:
        print(json.dumps({"error": {"type": type(error).__name__, "message": message}}))


def _message(error: BaseException) -> str:
    # The library's own errors may be OSErrors too, but then their message is whole.
    if isinstance(error, OSError) and error.strerror and not isinstance(error, StreamLSHError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
