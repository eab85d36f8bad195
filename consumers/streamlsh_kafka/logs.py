"""Structured logs: one event a line, as ``key=value`` pairs or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")


def event(logger: logging.Logger, level: int, name: str, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, name, extra={"fields": fields})


def configure_logs(*, level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to a stream (standard error by default), one line each.

    Lines of kafka-python and of numba, which tells all that it compiles, are kept from warnings up,
    and not mixed into our debug lines.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else KeyValueLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("kafka", "numba"):
        logging.getLogger(library).setLevel(logging.WARNING)


class KeyValueLines(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO period records=120 lag=0``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line."""
        parts = [_timestamp(record), record.levelname, _text(record.getMessage())]
        parts += [f"{name}={_quote(value)}" for name, value in _fields(record).items()]
        return " ".join(parts)


class JsonLines(logging.Formatter):
    """The same as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line."""
        line = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        return json.dumps(line | _fields(record), default=str, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = repr(record.exc_info[1])
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(message: str) -> str:
    return message.replace("\n", " ")


def _quote(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and not set(text) & set(' ="\n') else json.dumps(text, ensure_ascii=False)
