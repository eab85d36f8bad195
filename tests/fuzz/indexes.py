"""Small records inside an index file: it opens and can be read, or a typed error says why not.

Pages of LMDB itself are sound here; what it was given to keep is not.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import streamlsh
from streamlsh.calibration import Calibration, Setting
from streamlsh.errors import IndexContentError, StreamLSHError
from streamlsh.storage.opening import _digest
from streamlsh.storage.schema import (
    CALIBRATION_KEY,
    CONFIG_KEY,
    DIGEST_KEY,
    FORMAT_KEY,
    HELD_OUT_KEY,
    STATE_KEY,
    number_key,
    position_key,
)
from streamlsh.storage.sealing import seal, unseal
from tests.tampering import keys, tampering

DIM = 8
ITEMS = 40


@cache
def sound() -> Path:
    """An index with everything that a record may describe, made once and copied."""
    folder = tempfile.mkdtemp(prefix="streamlsh-fuzz-")
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / "sound"
    rng = np.random.default_rng(0)
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=3, tables=2, map_size=1 << 24)
    ids = [f"i{number}" for number in range(ITEMS)]
    rows = rng.standard_normal((ITEMS, DIM)).astype(np.float32)
    with streamlsh.writer(path) as writer:
        writer.upsert(ids, rows, tags=[["a", "b"]] * ITEMS, attributes=[{"n": 1}] * ITEMS)
        writer.delete(ids[:3], versions=[1, 2, 3])
        writer.commit([streamlsh.Position("topic", 0, 17, "uuid")])
    with tampering(path, "meta") as transaction:
        transaction.put(CALIBRATION_KEY, seal(CALIBRATION_KEY, _calibration()))
    return path


def check_format(data: bytes) -> None:
    """As the format's number."""
    _check("meta", FORMAT_KEY, data)


def check_config(data: bytes) -> None:
    """As the configuration, with its digest mended."""
    _check("meta", CONFIG_KEY, data, mend=True)


def check_family(data: bytes) -> None:
    """As the family's array, with its digest mended."""
    _check("family", b"frame", data, mend=True)


def check_digest(data: bytes) -> None:
    """As the digest of configuration and family."""
    _check("meta", DIGEST_KEY, data)


def check_state(data: bytes) -> None:
    """As the state, as it is and with a checksum that fits."""
    _check("meta", STATE_KEY, data)
    _check("meta", STATE_KEY, seal(STATE_KEY, data))


def check_calibration(data: bytes) -> None:
    """As the calibration, with a checksum that fits."""
    _check("meta", CALIBRATION_KEY, seal(CALIBRATION_KEY, data))


def check_held_out(data: bytes) -> None:
    """As the rows that calibration may ask with."""
    _check("meta", HELD_OUT_KEY, data)


def check_position(data: bytes) -> None:
    """As the record of a source position, and as its key, with a checksum that fits."""
    key = position_key("topic", 0)
    _check("positions", key, seal(key, data))
    if 0 < len(data) <= 511:
        _check("positions", data, seal(data, opened("positions", key)))


def check_extras(data: bytes) -> None:
    """As the tags and attributes of an item."""
    _check("extras", number_key(7), data)


def _check(database: str, key: bytes, data: bytes, *, mend: bool = False) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        shutil.copytree(sound(), path)
        with tampering(path, database) as transaction:
            transaction.put(key, data)
        if mend:
            mend_digest(path)
        try:
            reader = streamlsh.open(path)
        except IndexContentError:
            return
        with reader:
            for call in _calls(reader) + _searches(reader):
                with contextlib.suppress(IndexContentError):
                    call()
        # A refusal of any kind will do for the writer, if it is one of ours.
        with contextlib.suppress(StreamLSHError), streamlsh.writer(path) as writer:
            assert writer.epoch > 0


def _calls(reader: streamlsh.Reader) -> list[Callable[[], object]]:
    """What operators ask of an index that may be damaged."""
    return [
        reader.info,
        reader.verify,
        lambda: len(reader),
        lambda: reader.positions,
        lambda: [reader.get(f"i{number}") for number in range(ITEMS)],
        lambda: list(reader.items()),
    ]


def _searches(reader: streamlsh.Reader) -> list[Callable[[], object]]:
    """What readers ask of it."""
    return [
        lambda: reader.search(np.ones((2, DIM)), k=5),
        lambda: reader.search(np.ones(DIM), k=5, tags=["a"], probes=4),
    ]


def mend_digest(path: Path) -> None:
    """Store the digest that fits the configuration and the family as they are now."""
    names = keys(path, "family")
    with tampering(path, "family") as transaction:
        arrays = {
            name.decode("utf-8", "replace"): bytes(transaction.get(name) or b"") for name in names
        }
    with tampering(path, "meta") as transaction:
        config = bytes(transaction.get(CONFIG_KEY) or b"")
        transaction.put(DIGEST_KEY, _digest(config, arrays))


def stored(database: str, key: bytes) -> bytes:
    """A value of the sound index."""
    with tampering(sound(), database) as transaction:
        return bytes(transaction.get(key) or b"")


def opened(database: str, key: bytes) -> bytes:
    """A record of the sound index, without its checksum."""
    return bytes(unseal(key, stored(database, key)))


def seeds(
    database: str, key: bytes, value: Callable[[str, bytes], bytes] = stored
) -> Callable[[], list[bytes]]:
    """What the sound index holds, and what often trips readers up."""
    return lambda: [value(database, key), b"", b"\xc0", b"\xdd\x7f\xff\xff\xff", b"\x93\x01"]


def _calibration() -> bytes:
    setting = Setting(8, float("inf"), 40, 0.97, 120.5)
    return Calibration(ITEMS, 50, "items", (10.0, 0.1, 8.0, 0.05, 0.2), {10: (setting,)}).pack()
