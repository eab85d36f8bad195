"""One commit: a batch of updates and the positions it ends at, all or nothing."""

from __future__ import annotations

import time
from itertools import islice

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.tail import add_entries
from streamlsh.config import MAX_SLOTS
from streamlsh.errors import FencedError, SlotsExhaustedError
from streamlsh.preparing import Prepared, prepare
from streamlsh.staging import STORED, ItemChange, StagedUpdate, StoredItem, resolve
from streamlsh.storage.live import LiveBitmap
from streamlsh.storage.names import Names
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import append_rows, delete_block, read_block_names, read_rows
from streamlsh.storage.positions import read_positions, write_positions
from streamlsh.storage.schema import (
    ITEM,
    MARKER,
    NO_SLOT,
    NO_VERSION,
    STATE_KEY,
    commit_key,
    number_key,
)
from streamlsh.storage.state import State, read_state
from streamlsh.storage.tags import TagChanges
from streamlsh.updates import CommitResult, Position

F32 = NDArray[np.float32]

EXPIRED_RECORDS = 2
"""Expired records of delete markers that one commit clears: more than it can add."""
DEAD_SHARE = 0.25
"""Share of dead rows above which commits begin to empty slot blocks."""


def commit_batch(
    index: Index,
    epoch: int,
    updates: list[StagedUpdate],
    staged: Prepared,
    believed: dict[tuple[str, int], Position],
    moves: dict[tuple[str, int], Position],
) -> CommitResult:
    """Carry out one commit.

    1. Begin the write transaction, and a snapshot of the state before it.
    2. Check that this writer's epoch and positions are those stored: else it was fenced.
    3. Decide, update by update, what counts, and so what becomes of each id.
    4. Append the new vectors, hashed already, at new slots.
    5. Turn the live bits of the new slots on and those of replaced and deleted items off.
    6. Add the new entries to the tail, or make a segment of it; merge a full tier.
    7. Write ids, tags, delete markers, positions and the state.
    8. Commit: LMDB writes the pages, syncs, then its meta page, which makes all of it visible
       and durable at once. An error before this leaves the last commit as it was.

    Args:
        index: the open index.
        epoch: the writer's.
        updates: staged updates in order.
        staged: the staged vectors they refer to.
        believed: the positions that the writer last saw.
        moves: the positions that the batch ends at.

    Raises:
        FencedError: another writer took over.
        SlotsExhaustedError: no slot numbers are left.
        StorageError: the storage refused.
    """
    environment = index.environment
    with environment.write() as transaction, environment.read() as snapshot:
        state = read_state(snapshot, environment.database("meta"))
        _check_fence(snapshot, index, state, epoch, believed, moves)
        batch = _Batch(index, transaction, snapshot, state)
        stored = batch.stored_items({update.key for update in updates})
        resolution = resolve(updates, staged.rows.vectors, stored, batch.stored_vector)
        state.commit += 1
        batch.apply(resolution.changes, staged)
        write_positions(transaction, environment, list(moves.values()))
        transaction.put(STATE_KEY, state.pack(), db=environment.database("meta"))
    return CommitResult(state.commit, **resolution.counts)


def _check_fence(
    snapshot: lmdb.Transaction,
    index: Index,
    state: State,
    epoch: int,
    believed: dict[tuple[str, int], Position],
    moves: dict[tuple[str, int], Position],
) -> None:
    path = index.environment.path
    if state.epoch != epoch:
        raise FencedError(
            f"another writer took {path} over", expected=f"epoch {epoch}",
            received=f"epoch {state.epoch}",
        )  # fmt: skip
    if moves:
        stored = read_positions(snapshot, index.environment)
        for key in moves:
            if stored.get(key) != believed.get(key):
                raise FencedError(
                    f"the position of {key} in {path} was moved by another writer",
                    expected=believed.get(key), received=stored.get(key),
                )  # fmt: skip


class _Batch:
    """The steps of one commit that read the old state and write the new one."""

    def __init__(
        self, index: Index, transaction: lmdb.Transaction, snapshot: lmdb.Transaction, state: State
    ) -> None:
        self._index = index
        self._transaction = transaction
        self._snapshot = snapshot
        self._state = state
        self._items = index.environment.database("items")
        self._extras = index.environment.database("extras")
        self._expiry = index.environment.database("expiry")
        self._live = LiveBitmap(snapshot, index.environment.database("live"))
        self._tags = index.environment.database("tags")
        self._tag_changes = TagChanges()

    def stored_items(self, keys: set[bytes]) -> dict[bytes, StoredItem]:
        """What the index holds of ids; those it knows nothing of are left out."""
        found = {}
        with self._snapshot.cursor(self._items) as cursor:
            for key, value in cursor.getmulti(sorted(keys)):
                slot, version = ITEM.unpack_from(value)
                if slot == NO_SLOT:
                    found[bytes(key)] = StoredItem(version=version, marker=True)
                else:
                    extras = self._snapshot.get(number_key(slot), b"", db=self._extras)
                    found[bytes(key)] = StoredItem(slot, version, bytes(extras))
        return found

    def stored_vector(self, slot: int) -> F32:
        """The (dim,) vector at a slot, in place."""
        rows, at = read_rows(self._snapshot, self._index.environment, self._index.rows, slot)
        vector: F32 = rows.vectors[at]
        return vector

    def apply(self, changes: dict[bytes, ItemChange], staged: Prepared) -> None:
        """Write everything that the changes come to."""
        state = self._state
        fresh = {key: c for key, c in changes.items() if c.present and c.row != STORED}
        dead = [
            c.stored.slot
            for c in changes.values()
            if c.stored.slot != NO_SLOT and not (c.present and c.row == STORED)
        ]
        self._live.switch_off(np.array(dead, np.uint32))
        moved = self._empty_blocks(len(dead))
        new = staged.take([c.row for c in fresh.values()])
        if moved:
            new = Prepared.joined([new, prepare(self._index, np.array(list(moved.values())))])
        slots = {key: state.slot_end + i for i, key in enumerate([*fresh, *moved])}
        self._append(new, [*slots])
        for key, stored in self.stored_items(moved.keys() - changes.keys()).items():
            changes[key] = ItemChange(stored, True, STORED, stored.version, stored.extras)
        self._write_markers(self._write_items(changes, slots))
        self._tag_changes.write(self._transaction, self._snapshot, self._tags)
        state.live += sum(c.present - (c.stored.slot != NO_SLOT) for c in changes.values())
        state.live_stamps = self._live.write(self._transaction, state.live_stamps, state.commit)

    def _append(self, new: Prepared, ids: list[bytes]) -> None:
        """Store new rows, of the items of these ids, at the next slots, and their entries."""
        count = len(new)
        if not count:
            return
        index, state = self._index, self._state
        if state.slot_end + count > MAX_SLOTS:
            raise SlotsExhaustedError(
                f"{index.environment.path} has given out {state.slot_end} slots of {MAX_SLOTS}; "
                "rebuild it: streamlsh export, create, load"
            )
        append_rows(
            self._transaction, self._snapshot, index.environment, index.rows, state.slot_end,
            new.rows, Names(ids),
        )  # fmt: skip
        slots = np.arange(state.slot_end, state.slot_end + count, dtype=np.uint32)
        self._live.switch_on(slots)
        state.slot_end += count
        add_entries(
            self._transaction, self._snapshot, index.environment, index.rows.chunk_bytes, state,
            self._live, state.live * index.family.assignments, new.encoded.entries(slots),
        )  # fmt: skip

    def _write_items(
        self, changes: dict[bytes, ItemChange], slots: dict[bytes, int]
    ) -> list[bytes]:
        """Write ids and extras, note changed tags; the ids of which to keep a marker."""
        markers = []
        items: list[tuple[bytes, bytes]] = []
        extras: list[tuple[bytes, bytes]] = []
        for key, change in changes.items():
            stored = change.stored
            if change.present:
                slot = slots.get(key, stored.slot)
                if slot != stored.slot or change.version != stored.version:
                    items.append((key, ITEM.pack(slot, change.version)))
                before = stored.extras if slot == stored.slot else b""
                if before != change.extras:
                    self._tag_changes.replace(slot, before, change.extras)
                    if change.extras:
                        extras.append((number_key(slot), change.extras))
                    else:
                        self._transaction.delete(number_key(slot), db=self._extras)
            elif change.version != NO_VERSION:
                if not stored.marker or change.version != stored.version:
                    markers.append(key)
                    marker = MARKER.pack(NO_SLOT, change.version, self._state.commit)
                    items.append((key, marker))
            elif stored.slot != NO_SLOT:
                self._transaction.delete(key, db=self._items)
        # In order of keys, neighbours share a page; and one call spares the interpreter many.
        for database, values in ((self._items, items), (self._extras, extras)):
            with self._transaction.cursor(database) as cursor:
                cursor.putmulti(sorted(values))
        return markers

    def _write_markers(self, markers: list[bytes]) -> None:
        """Note when this commit's delete markers were made, and drop those that are too old."""
        now = time.time()
        if markers:
            record = msgpack.packb([now, markers])
            self._transaction.put(commit_key(self._state.commit), record, db=self._expiry)
        with self._snapshot.cursor(self._expiry) as cursor:
            for key, value in islice(cursor, EXPIRED_RECORDS):
                made, ids = msgpack.unpackb(value)
                if now - made <= self._index.config.delete_retention:
                    break
                for item_id in ids:
                    self._drop_marker(item_id, int.from_bytes(key, "big"))
                self._transaction.delete(key, db=self._expiry)

    def _drop_marker(self, key: bytes, commit: int) -> None:
        """Drop a delete marker unless the id was written again since."""
        value = self._transaction.get(key, db=self._items)
        if value is not None and len(value) == MARKER.size:
            slot, _, made = MARKER.unpack(value)
            if slot == NO_SLOT and made == commit:
                self._transaction.delete(key, db=self._items)

    def _empty_blocks(self, died: int) -> dict[bytes, F32]:
        """Free the full slot blocks with the fewest live rows while too many rows are dead.

        Their live rows are appended anew. A commit moves no more than a block of rows and twice
        those that it let die itself: enough to keep up with it, and bounded.

        Args:
            died: rows that this commit has switched off.

        Returns:
            The vectors to append, by id.
        """
        layout, state = self._index.rows, self._state
        blocks = self._index.environment.database("blocks")
        capacity = layout.rows_per_block
        full = self._snapshot.stat(blocks)["entries"]
        stored = full * capacity + state.slot_end % capacity
        live = state.live - died
        if not full or stored - live <= DEAD_SHARE * stored:
            return {}
        with self._snapshot.cursor(blocks) as cursor:
            numbers = [int.from_bytes(key, "big") for key in cursor.iternext(values=False)]
        counts = self._live.counts(np.array(numbers), capacity)
        moved: dict[bytes, F32] = {}
        for place in np.argsort(counts, kind="stable"):
            count = int(counts[place])
            if (
                stored - live <= DEAD_SHARE * stored
                or count > (1 - DEAD_SHARE) * capacity
                or len(moved) + count > capacity + 2 * died
            ):
                break
            moved |= self._empty_block(numbers[place], capacity)
            stored -= capacity - count
        return moved

    def _empty_block(self, number: int, capacity: int) -> dict[bytes, F32]:
        """Free one full slot block with its names, extras and tags; the live rows, by id."""
        slots = np.arange(capacity, dtype=np.uint32) + np.uint32(number * capacity)
        live = self._live.test(slots)
        keys = [number_key(slot) for slot in slots.tolist()]
        with self._snapshot.cursor(self._extras) as cursor:
            for key, extras in cursor.getmulti(keys):
                self._tag_changes.replace(int.from_bytes(key, "big"), bytes(extras), b"")
                self._transaction.delete(key, db=self._extras)
        index = self._index
        names = read_block_names(self._snapshot, index.environment, index.rows, number)
        rows, _ = read_rows(self._snapshot, index.environment, index.rows, int(slots[0]))
        moved = {names[row]: rows.vectors[row] for row in np.flatnonzero(live).tolist()}
        self._live.switch_off(slots[live])
        delete_block(self._transaction, index.environment, number)
        return moved
