"""What the Kafka unit tests share."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python 3.0 reads its schemas in a way that Python 3.11 calls deprecated, at import.
    config.addinivalue_line(
        "filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning"
    )
