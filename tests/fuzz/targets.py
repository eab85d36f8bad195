"""What can be fuzzed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamlsh.storage.schema import (
    CALIBRATION_KEY,
    CONFIG_KEY,
    DIGEST_KEY,
    FORMAT_KEY,
    STATE_KEY,
    number_key,
    position_key,
)
from tests.fuzz import files, indexes, records


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that takes bytes from outside.

    Attributes:
        check: raises if the bytes end in anything but success or a typed error.
        seeds: bytes to begin with.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: dict[str, Target] = {
    "msgpack": Target(records.check_msgpack, records.msgpack_seeds),
    "json": Target(records.check_json, records.json_seeds),
    "record": Target(records.check_envelope, records.envelope_seeds),
    "update-log": Target(records.check_update_log, records.update_log_seeds),
    "jsonl": Target(files.check_jsonl, files.jsonl_seeds),
    "parquet": Target(files.check_parquet, files.parquet_seeds),
    "npy": Target(files.check_npy, files.npy_seeds),
    "ids": Target(files.check_ids, files.ids_seeds),
    "format": Target(indexes.check_format, indexes.seeds("meta", FORMAT_KEY)),
    "config": Target(indexes.check_config, indexes.seeds("meta", CONFIG_KEY)),
    "digest": Target(indexes.check_digest, indexes.seeds("meta", DIGEST_KEY)),
    "family": Target(indexes.check_family, indexes.seeds("family", b"frame")),
    "state": Target(indexes.check_state, indexes.seeds("meta", STATE_KEY, indexes.opened)),
    "calibration": Target(
        indexes.check_calibration, indexes.seeds("meta", CALIBRATION_KEY, indexes.opened)
    ),
    "position": Target(
        indexes.check_position, indexes.seeds("positions", position_key("topic", 0), indexes.opened)
    ),
    "extras": Target(indexes.check_extras, indexes.seeds("extras", number_key(7))),
}
