"""What ``info`` says of an index."""

from __future__ import annotations

from typing import Any

import lmdb

from streamlsh.storage.opening import Index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.schema import FORMAT_VERSION
from streamlsh.storage.state import read_state


def describe(index: Index, transaction: lmdb.Transaction) -> dict[str, Any]:
    """Configuration, counts and sizes of the commit that a transaction sees, ready for JSON."""
    environment, config, family = index.environment, index.config, index.family
    state = read_state(transaction, environment.database("meta"))
    used, reserved = environment.map_used()
    capacity = index.rows.rows_per_block
    blocks = transaction.stat(environment.database("blocks"))["entries"]
    return {
        "path": str(environment.path),
        "format": FORMAT_VERSION,
        "dim": config.dim,
        "metric": config.metric,
        "family": {
            "name": family.name,
            "seed": config.seed,
            "tables": family.tables,
            "buckets": family.buckets,
            "assignments": family.assignments,
            "sketch_bits": 64 * family.words,
            "parameters": config.parameters,
            "digest": index.family_digest.hex(),
        },
        "delete_retention_seconds": config.delete_retention,
        "items": state.live,
        "commit": state.commit,
        "writer_epoch": state.epoch,
        "rows": {
            "stored": blocks * capacity + state.slot_end % capacity,
            "slots_given": state.slot_end,
            "per_block": capacity,
        },
        "tail_entries": state.tail_entries,
        "segments": [
            {"number": s.number, "entries": s.entries, "occupied_buckets": s.codes}
            for s in state.segments
        ],
        "positions": [
            {
                "stream": p.stream,
                "partition": p.partition,
                "offset": p.offset,
                "identity": p.identity,
            }
            for _, p in sorted(read_positions(transaction, environment).items())
        ],
        "bytes": {
            "file": used,
            "map": reserved,
            "raw_vectors": 4 * config.dim * state.live,
        },
        "readers": environment.readers(),
    }
