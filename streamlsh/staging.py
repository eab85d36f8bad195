"""From staged updates to what a commit must change: who wins, and what is new.

Updates are taken one by one in the order they were staged, by the same rule that holds between
batches, so it makes no difference how a stream of updates is cut into commits:

- an update with a version counts if the id has none yet or a lower one; an equal or lower
  version is stale and changes nothing;
- an update without a version counts by order of arrival and leaves the id's version alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import NO_SLOT, NO_VERSION

F32 = NDArray[np.float32]

STORED = -1
"""In place of a staged row: the vector that the index holds already."""


class StagedUpdate(NamedTuple):
    """One update, checked; a tuple, because thousands are made for each commit.

    Attributes:
        key: the id in UTF-8.
        row: number of the staged vector, or ``None`` for a delete.
        version: explicit version, or ``None``.
        extras: packed tags and attributes.
    """

    key: bytes
    row: int | None
    version: int | None
    extras: bytes


@dataclass(frozen=True, slots=True)
class StoredItem:
    """What the index holds of an id before the commit.

    Attributes:
        slot: where its vector is, or ``NO_SLOT``.
        version: its version, or ``NO_VERSION``.
        extras: packed tags and attributes.
        marker: whether only a delete marker stands there.
    """

    slot: int = NO_SLOT
    version: int = NO_VERSION
    extras: bytes = b""
    marker: bool = False


UNKNOWN = StoredItem()
"""Of an id that the index knows nothing of."""


@dataclass(slots=True)
class ItemChange:
    """What becomes of an id.

    Attributes:
        stored: what the index holds of it.
        present: whether there is such an item afterwards.
        row: number of the staged vector, or ``STORED``.
        version: its version afterwards.
        extras: packed tags and attributes afterwards.
    """

    stored: StoredItem
    present: bool
    row: int
    version: int
    extras: bytes


@dataclass(slots=True)
class Resolution:
    """All changes of a commit, and the count of what each update did.

    Attributes:
        changes: by id, in order of first appearance.
        counts: updates by outcome, named as in ``CommitResult``.
    """

    changes: dict[bytes, ItemChange] = field(default_factory=dict)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("inserted", "replaced", "unchanged", "deleted", "absent", "stale"), 0
        )
    )


def resolve(
    updates: list[StagedUpdate],
    vectors: F32,
    stored_items: Mapping[bytes, StoredItem],
    stored_vector: Callable[[int], F32],
) -> Resolution:
    """Apply updates in order to what is stored.

    Args:
        updates: the staged updates.
        vectors: (rows, dim) staged vectors that their ``row`` counts.
        stored_items: what the index holds of the updates' ids.
        stored_vector: the (dim,) vector at a slot of the index.
    """
    resolution = Resolution()
    counts = resolution.counts
    for update in updates:
        change = resolution.changes.get(update.key)
        if change is None:
            stored = stored_items.get(update.key, UNKNOWN)
            change = ItemChange(
                stored, stored.slot != NO_SLOT, STORED, stored.version, stored.extras
            )
            resolution.changes[update.key] = change
        if update.version is not None:
            if update.version <= change.version:
                counts["stale"] += 1
                continue
            version = update.version
        else:
            version = change.version
        if update.row is None:
            counts["deleted" if change.present else "absent"] += 1
            change.present, change.version = False, version
        else:
            counts[_upsert(change, update.row, update.extras, version, vectors, stored_vector)] += 1
    return resolution


def _upsert(
    change: ItemChange,
    row: int,
    extras: bytes,
    version: int,
    vectors: F32,
    stored_vector: Callable[[int], F32],
) -> str:
    """Carry out one upsert on an id's change; what it amounts to."""
    was_present = change.present
    as_stored = False
    if was_present or change.stored.slot != NO_SLOT:
        bits = vectors[row].tobytes()
        as_stored = (
            change.stored.slot != NO_SLOT and stored_vector(change.stored.slot).tobytes() == bits
        )
    if was_present:
        same = as_stored if change.row == STORED else vectors[change.row].tobytes() == bits
        if same and extras == change.extras and version == change.version:
            return "unchanged"
    change.present = True
    change.row = STORED if as_stored else row
    change.version = version
    change.extras = extras
    return "replaced" if was_present else "inserted"
