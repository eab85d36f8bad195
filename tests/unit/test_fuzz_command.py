"""``python -m tests.fuzz`` says what it can do, and replays what it found."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.targets import TARGETS, Target


def test_the_help_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, target in TARGETS.items():
        assert target.check.__doc__ is not None
        assert f"  {name} " in said
        assert target.check.__doc__.strip() in said


@pytest.mark.parametrize("arguments", [["nothing"], ["--seconds", "0"], ["--seconds", "x"]])
def test_wrong_arguments_end_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_without_atheris_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert command.main(["json"]) == 2
    assert "pip install 'streamlsh[fuzz]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_target_holds_for_its_own_seeds(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(TARGETS[name].seeds()):
        path = tmp_path / f"seed-{number}"
        path.write_bytes(seed)
        assert command.main(["--replay", str(path), name]) == 0


def test_an_input_that_breaks_a_target_breaks_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes) -> None:
        assert data[0] == 1

    monkeypatch.setitem(TARGETS, "json", Target(broken, list))
    path = tmp_path / "crash"
    path.write_bytes(b"")
    with pytest.raises(IndexError):
        command.main(["--replay", str(path), "json"])
    assert command.main(["--replay", str(path)]) == 2


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is for Linux on x86-64 only")
def test_a_short_run_reaches_code_and_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--seconds", "1", "--crashes", str(tmp_path / "crashes"), "ids"]) == 0
    said = capsys.readouterr().out
    assert "ids: held" in said
    assert "places in the code" in said
    assert list((tmp_path / "crashes").iterdir()) == []
