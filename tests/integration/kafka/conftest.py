"""A real broker for the tests of this folder."""

import warnings

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python 3.0 reads its schemas in a way that Python 3.11 calls deprecated, at import.
    config.addinivalue_line(
        "filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning"
    )
    # Registered once for all folders, so that one broker serves the whole session.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the same, at this moment
        config.pluginmanager.import_plugin("streamlsh_kafka.testing.fixtures")
