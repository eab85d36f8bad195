"""The command line: every flag can also be set in the environment, secrets only there or in files.

``--dead-letter-topic`` is ``STREAMLSH_KAFKA_DEAD_LETTER_TOPIC`` and so on; the command line wins.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

from streamlsh.config import DEFAULT_MAP_LIMIT, check_map_limit
from streamlsh_kafka.connection import MECHANISMS, PROTOCOLS, Connection
from streamlsh_kafka.errors import ConfigurationError
from streamlsh_kafka.logs import FORMATS, LEVELS

PREFIX: Final = "STREAMLSH_KAFKA_"
PASSWORD_VARIABLE: Final = PREFIX + "SASL_PASSWORD"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})

_DESCRIPTION: Final = "Keep a streamlsh index up to date with a Kafka topic."
_EPILOG: Final = f"""\
getting started:
  streamlsh create items.lsh --dim 384 --metric cosine
  streamlsh-kafka produce items.jsonl --topic items --bootstrap-servers localhost:9092
  streamlsh-kafka run items.lsh --topic items --bootstrap-servers localhost:9092
  streamlsh-kafka status items.lsh --topic items --bootstrap-servers localhost:9092

without Kafka, on a local file:
  streamlsh-kafka produce items.jsonl --update-log items.log
  streamlsh-kafka run items.lsh --update-log items.log --until-end

Every flag can be set in the environment too: --log-format is {PREFIX}LOG_FORMAT.
The SASL password comes from {PASSWORD_VARIABLE} or --sasl-password-file, never from a flag.
"""
_RUN_EPILOG: Final = """\
examples:
  follow a topic for ever; SIGTERM or Ctrl-C finishes the batch in hand and exits with 0:
    streamlsh-kafka run items.lsh --topic items --bootstrap-servers kafka:9092

  catch up and stop, setting aside what cannot be applied:
    streamlsh-kafka run items.lsh --topic items --bootstrap-servers kafka:9092 \\
        --dead-letter-topic items-dead --until-end

  log in over TLS:
    export STREAMLSH_KAFKA_SASL_PASSWORD=...
    streamlsh-kafka run items.lsh --topic items --bootstrap-servers kafka:9093 \\
        --security-protocol SASL_SSL --ssl-cafile ca.pem \\
        --sasl-mechanism SCRAM-SHA-512 --sasl-username indexer

The offsets are in the index itself, committed together with the updates. There is one consumer
for each index; a second one ends at once with an error.
"""
_PRODUCE_EPILOG: Final = """\
one JSON object a line:
  {"id": "a1", "vector": [0.1, 0.2], "version": 7, "tags": ["new"], "attributes": {"price": 3}}
  {"id": "a1", "delete": true}

examples:
  streamlsh-kafka produce items.jsonl --topic items --bootstrap-servers localhost:9092
  generate-items | streamlsh-kafka produce - --topic items --bootstrap-servers localhost:9092
"""
_STATUS_EPILOG: Final = """\
examples:
  streamlsh-kafka status items.lsh --topic items --bootstrap-servers localhost:9092
  streamlsh-kafka status items.lsh --update-log items.log --json
"""
_DEMO_EPILOG: Final = """\
It takes less than a minute, needs no index and no input, and leaves nothing behind. The broker is
the one that STREAMLSH_KAFKA_BOOTSTRAP names, or a container, or Apache Kafka from its published
jars; with none of them it runs on an update log. It exits with 0 only if every check held.

example:
  streamlsh-kafka demo
"""


def new_parser() -> argparse.ArgumentParser:
    """The parser of ``streamlsh-kafka``, with defaults from the environment."""
    parser = argparse.ArgumentParser(
        prog="streamlsh-kafka",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        # An abbreviated flag would take --sasl-password for --sasl-password-file, and show it.
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = _command(commands, "run", "follow a source and keep the index up to date", _RUN_EPILOG)
    _add(run, "path", metavar="PATH", help="the index, made by `streamlsh create`")
    _add_source(run)
    _add_flag(run, "--until-end", "stop, with 0, at the end that the source had at the start")
    _add(run, "--dead-letter-topic", metavar="D", help="topic for records that cannot be applied")
    _add(
        run,
        "--dead-letter-log",
        metavar="FILE",
        help="the same as an update log of its own, for --update-log",
    )
    _add(
        run,
        "--policy",
        choices=("dlq", "stop"),
        help="what to do with a record that cannot be applied: set it aside, or stop before it "
        "(default: dlq if there is a place for dead letters, else stop)",
    )
    _add(
        run,
        "--group",
        metavar="G",
        help="mirror the offsets to this consumer group for lag tools; never read back",
    )
    _add(
        run,
        "--decoder",
        metavar="MODULE:FUNCTION",
        help="your own function from a record to an update, instead of the wire format",
    )
    _add(
        run,
        "--batch-records",
        metavar="N",
        type=_positive,
        default="4096",
        help="largest batch while there is a backlog (default: 4096); an idle consumer commits "
        "what is there at once",
    )
    _add(
        run,
        "--map-limit",
        metavar="SHARE",
        type=_map_limit,
        default=str(DEFAULT_MAP_LIMIT),
        help="stop before a batch with upserts if more than this share of the index's map is in "
        f"use; 1 for no limit but the map (default: {DEFAULT_MAP_LIMIT})",
    )
    _add_flag(
        run,
        "--accept-gap",
        "go on at the start of the topic if records were removed before they were read",
    )
    _add_logs(run)

    produce = _command(
        commands, "produce", "send updates from JSON Lines to a topic", _PRODUCE_EPILOG
    )
    _add(produce, "file", metavar="FILE", default="-", help="JSON Lines, or - for standard input")
    _add_source(produce)
    _add(
        produce,
        "--encoding",
        choices=("msgpack", "json"),
        default="msgpack",
        help="how values are written (default: msgpack)",
    )

    status = _command(
        commands, "status", "how far the index has read, and what is left", _STATUS_EPILOG
    )
    _add(status, "path", metavar="PATH", help="the index")
    _add_source(status)
    status.add_argument("--json", action="store_true", help="print JSON")

    _command(commands, "demo", "tell the whole story on a sample that comes along", _DEMO_EPILOG)
    return parser


def connection_of(arguments: argparse.Namespace) -> Connection:
    """The connection that the flags and the environment describe.

    Raises:
        ConfigurationError: they do not fit together, or the password file cannot be read.
    """
    return Connection(
        bootstrap_servers=arguments.bootstrap_servers,
        security_protocol=arguments.security_protocol,
        ssl_cafile=arguments.ssl_cafile,
        sasl_mechanism=arguments.sasl_mechanism,
        sasl_username=arguments.sasl_username,
        sasl_password=_password(arguments.sasl_password_file),
    )


def check_source(arguments: argparse.Namespace) -> None:
    """See that exactly one source is named, completely.

    Raises:
        ConfigurationError: none is, or both are.
    """
    if bool(arguments.update_log) == bool(arguments.bootstrap_servers):
        raise ConfigurationError(
            "expected one source: --topic with --bootstrap-servers, or --update-log"
        )
    if arguments.bootstrap_servers and not arguments.topic:
        raise ConfigurationError("--bootstrap-servers needs --topic")


def _password(file: str | None) -> str | None:
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"SASL password file {file}: {error}") from error


def _command(commands: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where the updates are")
    _add(group, "--topic", metavar="T", help="the topic")
    _add(
        group, "--bootstrap-servers", metavar="HOST:PORT", help="the broker, or several with commas"
    )
    _add(group, "--update-log", metavar="FILE", help="a local update log instead of Kafka")
    security = parser.add_argument_group("security")
    _add(
        security,
        "--security-protocol",
        choices=PROTOCOLS,
        default="PLAINTEXT",
        help="(default: PLAINTEXT)",
    )
    _add(security, "--ssl-cafile", metavar="PEM", help="certificate authority of the broker")
    _add(security, "--sasl-mechanism", choices=MECHANISMS, help="how to log in")
    _add(security, "--sasl-username", metavar="USER", help="who logs in")
    _add(
        security,
        "--sasl-password-file",
        metavar="FILE",
        help=f"file with the password; without it {PASSWORD_VARIABLE} has it",
    )


def _add_logs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logs")
    _add(group, "--log-format", choices=FORMATS, default="text", help="(default: text)")
    _add(group, "--log-level", choices=LEVELS, default="info", help="(default: info)")


def _add(parser: Any, flag: str, *, default: str | None = None, **settings: Any) -> None:
    """Add a flag, or a positional argument, whose default is in the environment."""
    variable = _variable(flag)
    value = os.environ.get(variable) or default
    choices = settings.get("choices")
    if choices and value is not None and value not in choices:
        raise ConfigurationError(
            f"{variable}: expected one of {', '.join(choices)}, received {value!r}"
        )
    if not flag.startswith("-") and value is not None:
        settings["nargs"] = "?"
    parser.add_argument(flag, default=value, **settings)


def _add_flag(parser: Any, flag: str, text: str) -> None:
    variable = _variable(flag)
    value = os.environ.get(variable, "").lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"{variable}: expected true or false, received {value!r}")
    parser.add_argument(flag, action="store_true", default=value in _TRUE, help=text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _map_limit(text: str) -> float:
    try:
        share = float(text)
        check_map_limit(share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a share above 0 and up to 1, received {text!r}"
        ) from error
    return share


def _variable(flag: str) -> str:
    return PREFIX + flag.lstrip("-").replace("-", "_").upper()
