"""The demo holds where no broker can be had; on a broker, continuous integration runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_tells_its_story_on_an_update_log_without_a_broker(tmp_path: Path) -> None:
    nowhere = {name: value for name, value in os.environ.items() if "KAFKA" not in name}
    nowhere |= {
        "PATH": str(tmp_path),
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, "-m", "streamlsh_kafka", "demo"],
        env=nowhere, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "an embedded update log, because no Kafka broker can be had" in done.stdout
    assert "✔ the same digest: nothing lost, nothing twice" in done.stdout
    assert "✘" not in done.stdout
