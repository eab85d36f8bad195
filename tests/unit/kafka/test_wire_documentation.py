"""The page on the wire format says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import streamlsh_kafka.wire
from streamlsh import Upsert
from streamlsh_kafka import RawRecord, decode_update

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")


def hex_values() -> list[bytes]:
    """The values that are written out in hexadecimal, without the comments beside them."""
    values = []
    for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL):
        _, found, rest = block.partition("value ")
        if not found:
            continue
        pairs = [re.match(r"\s*((?:[0-9a-f]{2}\s{1,2})+)", line + " ") for line in rest.split("\n")]
        data = bytes.fromhex("".join(pair[1] for pair in pairs if pair))
        if data:
            values.append(data)
    return values


def test_every_value_in_hexadecimal_is_the_vector_that_the_text_says() -> None:
    updates = [decode_update(RawRecord("t", 0, 0, 0, b"a1", value, ())) for value in hex_values()]
    assert len(updates) == 3
    for update in updates:
        assert isinstance(update, Upsert)
        assert update.vector.tolist() == [0.5, -1.0, 2.0]
    full = updates[1]
    assert isinstance(full, Upsert)
    assert (full.version, tuple(full.tags), full.attributes) == (7, ("new",), {"price": 3})


def test_every_reason_of_the_decoder_is_explained() -> None:
    source = Path(streamlsh_kafka.wire.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'DecodeError\(\s*"([a-z-]+)"', source))
    assert reasons
    explained = set(re.findall(r"`([a-z-]+)`", PAGE[PAGE.index("## Reasons") :]))
    assert reasons <= explained
