"""One commit: a batch of updates and the positions it ends at, all or nothing."""

from __future__ import annotations

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.applying import Step, stored_items
from streamlsh.buckets.merging import allowance
from streamlsh.errors import FencedError
from streamlsh.preparing import Batch
from streamlsh.staging import STORED, ItemChange, resolve
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import RowReader
from streamlsh.storage.positions import read_positions, remove_positions, write_positions
from streamlsh.storage.schema import NO_SLOT, NO_VERSION
from streamlsh.storage.state import State, read_state
from streamlsh.updates import CommitResult

U32 = NDArray[np.uint32]

WAITING = 65_536
"""Entries that a transaction writes of a purge which the commit waits for, 2.6 MB."""


def commit_batch(index: Index, epoch: int, batch: Batch) -> CommitResult:
    """Carry out one commit.

    1. Decide, update by update, what counts, and so what becomes of each id.
    2. Store the new vectors, hashed already, at free slots. Only a large commit that refills many
       blocks takes several LMDB transactions for that; nobody sees what stands at a free slot.
       If too few are free and a purge is due or under way, the commit first does its share of
       that, rather than to make the file grow.
    3. In the last transaction: turn the live bits of the new slots on and those of replaced and
       deleted items off.
    4. Add the new entries to the tail, or make a segment of it; go on with merges.
    5. Write ids, tags, delete markers, positions, the content's sums and the state.
    6. Commit: LMDB writes the pages, syncs, then its meta page, which makes all of it visible
       and durable at once. An error before this leaves the last commit as it was.

    In each transaction this writer's epoch and positions are compared with those stored: if they
    differ, it was fenced.

    Args:
        index: the open index.
        epoch: the writer's.
        batch: what to do.

    Raises:
        FencedError: another writer took over.
        SlotsExhaustedError: no slot numbers are left.
        StorageError: the storage refused.
    """
    environment = index.environment
    with environment.read() as snapshot:
        state = read_state(snapshot, environment.database("meta"))
        _check_fence(snapshot, index, state, epoch, batch)
        rows = RowReader(snapshot, environment, index.rows, state.open_block)
        stored = stored_items(index, snapshot, {update.key for update in batch.updates})
        resolution = resolve(batch.updates, batch.staged.rows.vectors, stored, rows.vector)
    changes = resolution.changes
    if batch.ends_sweep:
        for change in changes.values():
            change.version = NO_VERSION
    fresh = [key for key, c in changes.items() if c.present and c.row != STORED]
    new = batch.staged.take([changes[key].row for key in fresh])
    dead = _dead_slots(changes, set(fresh))
    room = allowance((len(fresh) + len(dead)) * index.family.assignments)
    slots = np.zeros(0, np.uint32)
    while True:
        with environment.write() as transaction, environment.read() as snapshot:
            step = Step(index, transaction, snapshot)
            _check_fence(snapshot, index, step.state, epoch, batch)
            if room > 0 and step.lacks_slots(len(fresh) - len(slots)):
                room -= step.reclaim(min(room, WAITING), slots)
                step.write()
                continue
            slots = np.concatenate([slots, step.place(new, fresh, len(slots))])
            if len(slots) < len(fresh):
                step.write()
                continue
            placed = dict(zip(fresh, slots.tolist(), strict=True))
            step.apply(changes, batch, new, placed, dead, room)
            write_positions(transaction, environment, list(batch.moves.values()))
            remove_positions(transaction, environment, batch.forgets)
            step.write()
            return CommitResult(step.state.commit, **resolution.counts)


def check_epoch(index: Index, state: State, epoch: int) -> None:
    """Raise ``FencedError`` unless a writer of an epoch is still the one that may write.

    Args:
        index: the open index.
        state: as it is stored now.
        epoch: the writer's.
    """
    if state.epoch != epoch:
        raise FencedError(
            f"another writer took {index.environment.path} over", expected=f"epoch {epoch}",
            received=f"epoch {state.epoch}",
        )  # fmt: skip


def _check_fence(
    snapshot: lmdb.Transaction, index: Index, state: State, epoch: int, batch: Batch
) -> None:
    check_epoch(index, state, epoch)
    path = index.environment.path
    if batch.moves or batch.forgets:
        stored = read_positions(snapshot, index.environment)
        for key in batch.moves.keys() | batch.forgets:
            if stored.get(key) != batch.believed.get(key):
                raise FencedError(
                    f"the position of {key} in {path} was moved by another writer",
                    expected=batch.believed.get(key), received=stored.get(key),
                )  # fmt: skip


def _dead_slots(changes: dict[bytes, ItemChange], fresh: set[bytes]) -> U32:
    """The slots whose rows the changes take the place of, or delete."""
    dead = [
        change.stored.slot
        for key, change in changes.items()
        if change.stored.slot != NO_SLOT and not (change.present and key not in fresh)
    ]
    return np.array(dead, np.uint32)
