"""``streamlsh-kafka run | produce | status | demo``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import kafka.errors

import streamlsh
from streamlsh.errors import MapLimitError
from streamlsh_kafka.batches import BatchBounds
from streamlsh_kafka.dead_letters import DeadLetters, KafkaDeadLetters, UpdateLogDeadLetters
from streamlsh_kafka.decoders import load_decoder
from streamlsh_kafka.errors import ConfigurationError
from streamlsh_kafka.group_mirror import GroupMirror
from streamlsh_kafka.kafka_source import KafkaSource
from streamlsh_kafka.logs import configure_logs, event
from streamlsh_kafka.loop import Observer, consume
from streamlsh_kafka.observers import ProgressLog, SnapshotWatch
from streamlsh_kafka.options import check_source, connection_of, new_parser
from streamlsh_kafka.producing import TopicSink, UpdateLogSink, UpdateSink, read_updates
from streamlsh_kafka.source import Source, lag
from streamlsh_kafka.starting import loading
from streamlsh_kafka.update_log import UpdateLogSource
from streamlsh_kafka.wire import decode_update

if TYPE_CHECKING:
    from rich.progress import Progress

BAR_STEP = 500
PATIENCE_SECONDS = 1.0
"""How long a source may finish what it was asked for, once there is a request to stop."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 1 after one line that says what is wrong."""
    try:
        options = new_parser().parse_args(arguments)
        if options.command == "demo":
            return _demo()
        check_source(options)
        command = {"run": _run, "produce": _produce, "status": _status}[options.command]
        command(options)
    except (streamlsh.StreamLSHError, kafka.errors.KafkaError) as error:
        print(f"streamlsh-kafka: error: {error or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output is gone; nothing can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # of a file that is named on the command line
        print(f"streamlsh-kafka: error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    configure_logs(level=options.log_level, form=options.log_format)
    decoder = load_decoder(options.decoder) if options.decoder else decode_update
    _check_policy(options)
    stop = _Stop()
    # The source first: its client learns of the brokers, in a thread, while kernels are loaded.
    # Signals last: to open the rest may take as long as another process holds the index, or the
    # broker hangs, and nobody asks for a stop meanwhile.
    with (
        closing(_source(options)) as source,
        _writer(options) as writer,
        _dead_letters(options, stop) as dead_letters,
        ExitStack() as signals,
    ):
        observers: list[Observer] = [ProgressLog(), SnapshotWatch(writer)]
        if options.group:
            observers.append(GroupMirror(connection_of(options), options.group))
        signals.enter_context(stop.on_signals(source))
        event(_log, logging.INFO, "started", index=options.path, source=source.stream)
        try:
            summary = consume(
                writer,
                source,
                decoder=decoder,
                dead_letters=dead_letters,
                until_end=options.until_end,
                bounds=BatchBounds(records=options.batch_records),
                observers=observers,
                stop_requested=stop.is_requested,
            )
        except MapLimitError as error:
            event(
                _log,
                logging.ERROR,
                "map_limit",
                used_bytes=error.used,
                limit_bytes=error.limit,
            )
            raise
        event(
            _log,
            logging.INFO,
            "stopped",
            records=summary.records,
            commits=summary.commits,
            dead_letters=summary.dead_letters,
            positions=",".join(
                f"{partition}:{position.offset}"
                for (stream, partition), position in sorted(writer.positions.items())
                if stream == source.stream
            ),
        )


def _writer(options: argparse.Namespace) -> streamlsh.Writer:
    with loading():
        return streamlsh.writer(options.path, map_limit=options.map_limit)


def _demo() -> int:
    from streamlsh_kafka.demo.story import tell  # noqa: PLC0415 - the sample and its parts

    return tell()


def _check_policy(options: argparse.Namespace) -> None:
    place = options.dead_letter_topic or options.dead_letter_log
    if options.policy == "dlq" and not place:
        raise ConfigurationError("--policy dlq needs --dead-letter-topic or --dead-letter-log")
    if options.dead_letter_topic and options.update_log:
        raise ConfigurationError("--update-log goes with --dead-letter-log, not with a topic")
    if options.dead_letter_topic and options.dead_letter_log:
        raise ConfigurationError("expected one of --dead-letter-topic and --dead-letter-log")
    if options.group and options.update_log:
        raise ConfigurationError("--group is a group of Kafka's, so it does not go with a file")


def _source(options: argparse.Namespace) -> Source:
    if options.update_log:
        return UpdateLogSource(options.update_log)
    accept_gap = getattr(options, "accept_gap", False)
    return KafkaSource(connection_of(options), options.topic, accept_gap=accept_gap)


@contextmanager
def _dead_letters(options: argparse.Namespace, stop: _Stop) -> Iterator[DeadLetters | None]:
    if options.policy == "stop" or not (options.dead_letter_topic or options.dead_letter_log):
        yield None
        return
    letters: DeadLetters
    if options.dead_letter_topic:
        letters = KafkaDeadLetters(
            connection_of(options), options.dead_letter_topic, stop_requested=stop.is_requested
        )
    else:
        letters = UpdateLogDeadLetters(options.dead_letter_log)
    with closing(letters):
        yield letters


class _Stop:
    """A request to stop, set by a signal and asked for between batches."""

    def __init__(self) -> None:
        self._signal = 0

    def is_requested(self) -> bool:
        return self._signal != 0

    @contextmanager
    def on_signals(self, source: Source) -> Iterator[None]:
        """Ask for a stop at SIGTERM and SIGINT, and do not wait for the source for long then."""
        # Nothing of a batch that is still being polled counts, so nothing is lost with it.
        patience = threading.Timer(PATIENCE_SECONDS, source.close)
        patience.daemon = True

        def request(number: int, _: FrameType | None) -> None:
            # Noted first: to start a thread takes a while, in which a second signal may come.
            first, self._signal = not self._signal, number
            if first:
                patience.start()

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, request) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            patience.cancel()


def _produce(options: argparse.Namespace) -> None:
    sink: UpdateSink
    if options.update_log:
        sink = UpdateLogSink(options.update_log, encoding=options.encoding)
    else:
        sink = TopicSink(connection_of(options), options.topic, encoding=options.encoding)
    sent = deletes = 0
    with closing(sink), _open_lines(options.file) as lines:
        for update in read_updates(lines):
            sink.send(update)
            sent += 1
            deletes += isinstance(update, streamlsh.Delete)
        sink.flush()
    print(f"{sent} updates produced, {deletes} of them deletes")


@contextmanager
def _open_lines(name: str) -> Iterator[Iterator[str]]:
    """The lines of a file, or of standard input, with a progress bar on a terminal."""
    if name == "-":
        yield iter(sys.stdin)
        return
    # A tenth of what a consumer's start takes, and only this needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("producing"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    console = Console(stderr=True)
    quiet = not console.is_terminal
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"{name}: {error.strerror}") from error
        bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet)
        yield _advance(file, stack.enter_context(bar))


def _advance(file: TextIO, progress: Progress) -> Iterator[str]:
    task = progress.add_task("", total=os.fstat(file.fileno()).st_size)
    read = 0
    for number, line in enumerate(file):
        read += len(line.encode()) if not line.isascii() else len(line)
        if number % BAR_STEP == 0:
            progress.update(task, completed=read)
        yield line
    progress.update(task, completed=read)


def _status(options: argparse.Namespace) -> None:
    with closing(_source(options)) as source, streamlsh.open(options.path) as reader:
        status = _status_of(reader, source)
    if options.json:
        print(json.dumps(status))
        return
    print(
        f"{status['stream']}: {status['lag']} records to read, index at commit {status['commit']}"
    )
    for row in status["partitions"]:
        stored = "-" if row["stored"] is None else row["stored"]
        print(f"  partition {row['partition']}: {stored} of {row['end']}, lag {row['lag']}")
        if row["identity"] not in {None, status["identity"]}:
            print("  this index was built from an earlier topic of that name")


def _status_of(reader: streamlsh.Reader, source: Source) -> dict[str, Any]:
    ends = source.end_offsets()
    stored = [p for (stream, _), p in reader.positions.items() if stream == source.stream]
    at = {position.partition: position for position in stored}
    rows = []
    for partition, end in sorted(ends.items()):
        position = at.get(partition)
        rows.append(
            {
                "partition": partition,
                "stored": None if position is None else position.offset,
                "end": end,
                "lag": lag([] if position is None else [position], {partition: end}),
                "identity": None if position is None else position.identity,
            }
        )
    return {
        "stream": source.stream,
        "identity": source.identity,
        "commit": reader.commit,
        "lag": sum(row["lag"] for row in rows),
        "partitions": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
