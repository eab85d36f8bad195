"""The command line on the embedded update log, and what it says when it cannot go on."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamlsh
from streamlsh_kafka import Connection, UpdateLogSource
from streamlsh_kafka.cli import main
from streamlsh_kafka.errors import ConfigurationError
from streamlsh_kafka.logs import configure_logs

LINES = [
    {"id": "a", "vector": [1, 0, 0, 0], "version": 3, "tags": ["t"], "attributes": {"p": 1}},
    {"id": "b", "vector": [0, 1, 0, 0]},
    {"id": "b", "delete": True},
    {"id": "c", "vector": [0, 0, 1, 0]},
]
SASL = ["--topic", "t", "--bootstrap-servers", "localhost:1", "--security-protocol", "SASL_SSL"]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def index(tmp_path: Path) -> str:
    path = tmp_path / "items.lsh"
    streamlsh.create(path, dim=4, family="hyperplane", bits=4, tables=2)
    return str(path)


@pytest.fixture
def lines(tmp_path: Path) -> str:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in LINES) + "\n\n")
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "items.log")


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, expect it to fail, and return the one line it says."""
    assert main(arguments) == 1
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("streamlsh-kafka: error: ")
    assert "Traceback" not in last
    return last


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_produced_lines_become_the_index_and_status_says_so(
    index: str, lines: str, log: str, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["produce", lines, "--update-log", log, "--encoding", encoding]) == 0
    assert "4 updates produced, 1 of them deletes" in capsys.readouterr().out
    assert main(["status", index, "--update-log", log, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lag"] == 4
    assert main(["run", index, "--update-log", log, "--until-end"]) == 0
    capsys.readouterr()
    assert main(["status", index, "--update-log", log, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["stream"], status["lag"]) == ("items.log", 0)
    [row] = status["partitions"]
    assert (row["partition"], row["stored"], row["end"]) == (0, 4, 4)
    assert row["identity"] == status["identity"]
    assert main(["status", index, "--update-log", log]) == 0
    assert "partition 0: 4 of 4, lag 0" in capsys.readouterr().out
    with streamlsh.open(index) as reader:
        assert [item.id for item in reader.items()] == ["a", "c"]
        item = reader.get("a")
    assert item is not None
    assert (item.version, tuple(item.tags), item.attributes) == (3, ("t",), {"p": 1})


def test_every_flag_can_come_from_the_environment(
    index: str, lines: str, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLSH_KAFKA_UPDATE_LOG", log)
    monkeypatch.setenv("STREAMLSH_KAFKA_FILE", lines)
    monkeypatch.setenv("STREAMLSH_KAFKA_PATH", index)
    monkeypatch.setenv("STREAMLSH_KAFKA_UNTIL_END", "true")
    assert main(["produce"]) == 0
    assert main(["run"]) == 0
    with streamlsh.open(index) as reader:
        assert len(reader) == 2


def test_a_wrong_value_in_the_environment_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLSH_KAFKA_POLICY", "ignore")
    assert "STREAMLSH_KAFKA_POLICY: expected one of" in error_line(capsys, "status", "x")


@pytest.mark.parametrize("share", ["0", "1.5", "nan", "much"])
def test_a_limit_on_map_use_that_is_no_share_is_a_wrong_command_line(
    index: str, log: str, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", index, "--update-log", log, "--map-limit", share])
    assert caught.value.code == 2
    assert f"argument --map-limit: expected a share above 0 and up to 1, received {share!r}" in (
        capsys.readouterr().err
    )


def test_at_the_limit_on_map_use_the_consumer_says_so_and_stops_before_the_batch(
    index: str,
    lines: str,
    log: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["produce", lines, "--update-log", log]) == 0
    run = ["run", index, "--update-log", log, "--until-end"]
    monkeypatch.setenv("STREAMLSH_KAFKA_MAP_LIMIT", "1e-9")
    assert main(run) == 1
    *said, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("streamlsh-kafka: error: ")
    assert "larger map_size or map_limit" in last
    assert [
        line for line in said if "ERROR map_limit used_bytes=" in line and "limit_bytes=" in line
    ]
    with streamlsh.open(index) as reader:
        assert (len(reader), dict(reader.positions)) == (0, {})
    assert main([*run, "--map-limit", "1"]) == 0
    with streamlsh.open(index) as reader:
        assert len(reader) == 2


def test_bad_records_go_to_a_dead_letter_log(
    index: str, lines: str, log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "short", "vector": [1, 2]}\n')
    assert main(["produce", str(bad), "--update-log", log]) == 0
    assert main(["produce", lines, "--update-log", log]) == 0
    dead = str(tmp_path / "dead.log")
    run = ["run", index, "--update-log", log, "--until-end"]
    assert "offset 0 cannot be applied" in error_line(capsys, *run)
    assert main([*run, "--dead-letter-log", dead]) == 0
    source = UpdateLogSource(dead)
    [letter] = source.poll(0.0, 10)
    source.close()
    assert letter.key == b"short"
    assert dict(letter.headers)["streamlsh-reason"] == b"dimension"


def test_policy_stop_wins_over_a_place_for_dead_letters(
    index: str, log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "short", "vector": [1, 2]}\n')
    assert main(["produce", str(bad), "--update-log", log]) == 0
    run = ["run", index, "--update-log", log, "--until-end", "--policy", "stop"]
    assert "cannot be applied" in error_line(capsys, *run, "--dead-letter-log", f"{log}.dead")


def test_a_second_consumer_of_one_index_ends_with_one_line(
    index: str, lines: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["produce", lines, "--update-log", log]) == 0
    with streamlsh.writer(index):
        line = error_line(capsys, "run", index, "--update-log", log, "--until-end")
    assert index in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "x"], "expected one source"),
        (["run", "x", "--update-log", "u", "--bootstrap-servers", "h:1"], "expected one source"),
        (["run", "x", "--bootstrap-servers", "h:1"], "needs --topic"),
        (["status", "x", "--topic", "t", "--bootstrap-servers", "h"], "expected HOST:PORT"),
        (["status", "x", "--topic", "t", "--bootstrap-servers", "h:x"], "expected HOST:PORT"),
        (["run", "x", "--update-log", "u", "--policy", "dlq"], "--policy dlq needs"),
        (["run", "x", "--update-log", "u", "--dead-letter-topic", "d"], "--dead-letter-log"),
        (["run", "x", "--update-log", "u", "--group", "g"], "--group"),
        (["run", "x", "--update-log", "u", "--decoder", "json"], "module:function"),
        (["run", "x", "--update-log", "u", "--decoder", "nosuchmodule:f"], "cannot be loaded"),
        (["run", "x", "--update-log", "u", "--decoder", "json:decoder"], "expected a function"),
        (["status", "x", *SASL], "SASL mechanism"),
        (["status", "x", *SASL, "--sasl-mechanism", "PLAIN"], "user name and a password"),
        (["status", "x", *SASL, "--sasl-password-file", "/no/such/file"], "password file"),
        (["status", "x", "--topic", "t", "--bootstrap-servers", "h:1", "--sasl-username", "u"],
         "security protocol"),
        (["produce", "/no/such/file", "--update-log", "{log}"], "/no/such/file"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_line(
    arguments: list[str], said: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in error_line(capsys, *[part.format(log=log) for part in arguments])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ("[]", "expected an object"),
        ('{"vector": [1]}', "'id' is missing"),
        ('{"id": "a"}', "'vector' is missing"),
        ('{"id": 1, "vector": [1]}', "expected a string as id"),
        ('{"id": "a", "vector": ["x"]}', "line 2"),
        ('{"id": "a", "vector": [1], "colour": 1}', "unknown fields colour"),
        ('{"id": "a", "delete": true, "version": "1"}', "expected an integer as version"),
    ],
)
def test_a_line_that_is_no_update_is_named(
    line: str, said: str, log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "delete": true}\n' + line)
    message = error_line(capsys, "produce", str(path), "--update-log", log)
    assert "line 2" in message
    assert said in message


def test_the_password_comes_from_the_environment_or_a_file_and_is_never_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(
        "localhost:1",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password="hunter2",
    )
    assert "hunter2" not in repr(connection)
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    login = ["status", "x", *SASL, "--sasl-mechanism", "PLAIN", "--sasl-username", "u"]
    line = error_line(capsys, *login, "--sasl-password-file", str(file))
    assert "no Kafka broker answers at localhost:1" in line
    monkeypatch.setenv("STREAMLSH_KAFKA_SASL_PASSWORD", "hunter2")
    line += error_line(capsys, *login)
    assert "hunter2" not in line
    with pytest.raises(SystemExit):
        main([*login, "--sasl-password", "hunter2"])


def test_a_connection_without_a_port_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        Connection("localhost")


@pytest.mark.parametrize("command", [[], ["run"], ["produce"], ["status"]])
def test_help_shows_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "streamlsh-kafka run items.lsh" in capsys.readouterr().out or command


def test_logs_are_one_line_an_event_in_both_forms(
    index: str, lines: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["produce", lines, "--update-log", log]) == 0
    run = ["run", index, "--update-log", log, "--until-end", "--log-level", "debug"]
    assert main(run) == 0
    text = capsys.readouterr().err
    assert " DEBUG commit " in text
    assert " records=4 " in text
    assert main(["produce", lines, "--update-log", log]) == 0
    assert main([*run, "--log-format", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["started", "commit", "stopped"]
    assert events[1]["records"] == 4
    assert events[1]["positions"] == "0:8"


def test_a_file_that_cannot_be_made_is_one_line(
    index: str, lines: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = f"{log}/no/such"
    assert nowhere in error_line(capsys, "produce", lines, "--update-log", nowhere)
    assert main(["produce", lines, "--update-log", log]) == 0
    run = ["run", index, "--update-log", log, "--dead-letter-log", nowhere]
    assert nowhere in error_line(capsys, *run)


def test_at_debug_the_libraries_below_do_not_tell_all_that_they_do() -> None:
    stream = io.StringIO()
    configure_logs(level="debug", form="text", stream=stream)
    for name in ("numba.core.ssa", "kafka.client", "streamlsh_kafka.loop"):
        logging.getLogger(name).debug("from %s", name)
    assert [line.split(" DEBUG ")[1] for line in stream.getvalue().splitlines()] == [
        "from streamlsh_kafka.loop"
    ]
