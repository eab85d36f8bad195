"""Decoders are a plug-in point: a function from a record to an update."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from streamlsh import Delete, Upsert
from streamlsh_kafka.errors import ConfigurationError
from streamlsh_kafka.source import Record

Decoder = Callable[[Record], Upsert | Delete]
"""Turns a record into an update.

It raises `DecodeError` with a reason of its own for a record that it cannot use; any other
`Exception` marks the record as bad with the reason ``decoder-failed``.
"""


def load_decoder(name: str) -> Decoder:
    """Import a decoder that is named ``module:function``.

    Raises:
        ConfigurationError: no such module or function, or it cannot be called.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ConfigurationError(f"decoder: expected module:function, received {name!r}")
    try:
        decoder: object = importlib.import_module(module_name)
        for part in function_name.split("."):
            decoder = getattr(decoder, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"decoder {name!r} cannot be loaded: {error}") from error
    if not callable(decoder):
        raise ConfigurationError(f"decoder {name!r}: expected a function, received {decoder!r}")
    return decoder
