"""The runner of the soak: everything runs, everything is kept, and a failure is not missed."""

from __future__ import annotations

from tests.soak import Step, soak


def test_every_step_runs_with_the_long_forms_and_a_failure_is_said_in_the_end() -> None:
    lines: list[str] = []
    show = "import os; print('kills', os.environ['STREAMLSH_KILLS'])"
    steps = (
        Step("broken", ("-c", "print('so far'); raise SystemExit(3)")),
        Step("well", ("-c", show)),
    )
    assert not soak(steps, lines.append)
    assert "so far" in lines
    assert "kills 500" in lines
    assert [line.split()[0] for line in lines[-2:]] == ["FAILED", "passed"]
    assert soak(steps[1:], lines.append)
