"""What stands in an index's bucket tables, item by item: the ground truth of several tests."""

from __future__ import annotations

import streamlsh
from streamlsh.buckets.layout import Entries
from streamlsh.buckets.segment import read_segment
from streamlsh.buckets.tail import read_tail
from streamlsh.storage.schema import ITEM, NO_SLOT
from streamlsh.storage.state import read_state

Entry = tuple[int, bytes, bytes, bytes]
"""Bucket, sketch, f and a of one entry."""


def live_entries(reader: streamlsh.Reader) -> dict[str, list[Entry]]:
    """The bucket entries of every live item, read from segments and tail, sorted."""
    index = reader._index
    environment = index.environment
    with environment.read() as transaction:
        state = read_state(transaction, environment.database("meta"))
        parts = [
            *read_tail(transaction, environment.database("tail"), state.tail_entries),
            *(
                read_segment(transaction, environment.database("segments"), segment)
                for segment in state.segments
            ),
        ]
        owners: dict[int, str] = {}
        with transaction.cursor(environment.database("items")) as cursor:
            for key, value in cursor:
                slot = ITEM.unpack_from(value)[0]
                if slot != NO_SLOT:
                    owners[slot] = bytes(key).decode()
    found: dict[str, list[Entry]] = {name: [] for name in owners.values()}
    for part in parts:
        _collect(part, owners, found)
    return {name: sorted(entries) for name, entries in found.items()}


def _collect(part: Entries, owners: dict[int, str], found: dict[str, list[Entry]]) -> None:
    for place, slot in enumerate(part.slots.tolist()):
        if slot in owners:
            found[owners[slot]].append(
                (
                    int(part.buckets[place]),
                    part.bits[place].tobytes(),
                    part.f[place].tobytes(),
                    part.a[place].tobytes(),
                )
            )
