"""A real broker for the tests of this folder."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from streamlsh_kafka import Connection
    from streamlsh_kafka.testing import Broker


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python 3.0 reads its schemas in a way that Python 3.11 calls deprecated, at import.
    config.addinivalue_line(
        "filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning"
    )
    # Registered once for all folders, so that one broker serves the whole session.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the same, at this moment
        config.pluginmanager.import_plugin("streamlsh_kafka.testing.fixtures")


@pytest.fixture
def connection(broker: "Broker") -> "Connection":
    from streamlsh_kafka import Connection

    return Connection(broker.bootstrap_servers)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    from tests.integration.kafka.topics import new_index

    return new_index(tmp_path / "items.lsh")
