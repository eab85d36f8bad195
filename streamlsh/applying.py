"""One LMDB transaction of a commit: it reads the state before and writes the one after."""

from __future__ import annotations

from itertools import islice

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.merging import Purge
from streamlsh.buckets.tail import add_entries, reclaim
from streamlsh.content import add, item_record, subtract, sum_content
from streamlsh.preparing import Batch, Prepared
from streamlsh.staging import ItemChange, StoredItem
from streamlsh.steady import steady_time
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.changes import write_changes
from streamlsh.storage.giving import give_slots, roomy_slots
from streamlsh.storage.items import (
    marker_commit,
    pack_expiry,
    pack_item,
    pack_marker,
    unpack_expiry,
    unpack_item,
)
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import RowReader, store_rows
from streamlsh.storage.schema import (
    LIVE_PAGE_SLOTS,
    NO_SLOT,
    NO_VERSION,
    STATE_KEY,
    commit_key,
    number_key,
)
from streamlsh.storage.state import read_state
from streamlsh.storage.tags import TagChanges

U32 = NDArray[np.uint32]

EXPIRED_RECORDS = 2
"""Expired records of delete markers that one commit clears: more than it can add."""
PURGE_SHARE = 1 / 24
"""Dying slots for each live one above which a purge begins: all segments are merged, a bounded
part in each commit, and what they leave behind can be given out again. Until then queries read the
entries of dead rows for nothing."""
SHORT_SHARE = 1 / 96
"""The same where slots are short, so that the file would grow: growing is for good."""


def stored_items(
    index: Index, snapshot: lmdb.Transaction, keys: set[bytes]
) -> dict[bytes, StoredItem]:
    """What the index holds of ids; those it knows nothing of are left out."""
    extras_of = index.environment.database("extras")
    found = {}
    with snapshot.cursor(index.environment.database("items")) as cursor:
        for key, value in cursor.getmulti(sorted(keys)):
            slot, version = unpack_item(key, value)
            if slot == NO_SLOT:
                found[bytes(key)] = StoredItem(version=version, marker=True)
            else:
                extras = snapshot.get(number_key(slot), b"", db=extras_of)
                found[bytes(key)] = StoredItem(slot, version, bytes(extras))
    return found


class Step:
    """One LMDB transaction of a commit: reads the state before, writes the one after."""

    def __init__(
        self, index: Index, transaction: lmdb.Transaction, snapshot: lmdb.Transaction
    ) -> None:
        environment = index.environment
        self.state = read_state(snapshot, environment.database("meta"))
        self._index = index
        self._transaction = transaction
        self._snapshot = snapshot
        self._items = environment.database("items")
        self._extras = environment.database("extras")
        self._expiry = environment.database("expiry")
        self._live = Bitmap(snapshot, environment.database("live"))
        self._free = Bitmap(snapshot, environment.database("free"))
        self._dying = Bitmap(snapshot, environment.database("dying"))
        self._seen = Bitmap(snapshot, environment.database("seen"))
        self._rows = RowReader(snapshot, environment, index.rows, self.state.open_block)
        self._tag_changes = TagChanges()
        self._blocks: list[int] = []

    def lacks_slots(self, wanted: int) -> bool:
        """Whether the file would grow for want of slots that a purge can free."""
        if not wanted or not (self.state.purging or self._purge_is_due(SHORT_SHARE)):
            return False
        shift = self._index.rows.block_shift
        return roomy_slots(self._free, self.state, shift) < wanted

    def reclaim(self, room: int, given: U32) -> int:
        """Go on with merges, or begin a purge if none is under way; entries that it came to.

        Args:
            room: entries to write.
            given: slots that rows of this commit have got already.
        """
        index = self._index
        done, used = reclaim(
            self._transaction, self._snapshot, index.environment, index.rows.chunk_bytes,
            self.state, self._live.addresses(), room,
        )  # fmt: skip
        self._note_purge(done)
        self._free.switch_off(given)
        return used

    def place(self, new: Prepared, ids: list[bytes], done: int) -> U32:
        """Store rows at free slots, as many as this transaction should; the slots.

        Args:
            new: all new rows of the commit.
            ids: of their items.
            done: how many are stored already.
        """
        if done == len(ids):
            return np.zeros(0, np.uint32)
        layout, state = self._index.rows, self.state
        slots = give_slots(self._free, state, layout.block_shift, len(ids) - done)
        end = done + len(slots)
        self._blocks = store_rows(
            self._transaction, self._index.environment, self._rows, layout, state.open_block,
            slots, new.rows.part(done, end), ids[done:end],
        )  # fmt: skip
        return slots

    def apply(
        self,
        changes: dict[bytes, ItemChange],
        batch: Batch,
        new: Prepared,
        slots: dict[bytes, int],
        dead: U32,
        room: int,
    ) -> None:
        """Write everything that the changes come to.

        Args:
            changes: by id.
            batch: what the commit is to do.
            new: the new rows, stored already.
            slots: where, by id.
            dead: slots of the rows that they replace or delete.
            room: entries that may be written for merges under way.
        """
        state = self.state
        state.commit += 1
        given = np.fromiter(slots.values(), np.uint32, len(slots))
        self._live.switch_off(dead)
        self._live.switch_on(given)
        state.live += sum(c.present - (c.stored.slot != NO_SLOT) for c in changes.values())
        self._count_content(changes, new, slots)
        self._add_entries(new, given, dead, room)
        self._write_markers(self._write_items(changes, slots))
        tags = self._index.environment.database("tags")
        self._tag_changes.write(self._transaction, self._snapshot, tags)
        self._sweep(changes, batch, slots)
        if batch.caught_up is not None:
            state.caught_up = batch.caught_up

    def write(self) -> None:
        """Write bitmaps, what a reader must look up anew, and the state."""
        state, database = self.state, self._index.environment.database
        state.writes += 1
        pages = self._live.write(self._transaction)
        for bitmap in (self._free, self._dying, self._seen):
            bitmap.write(self._transaction)
        write_changes(self._transaction, database("changes"), state.writes, self._blocks, pages)
        self._transaction.put(STATE_KEY, state.pack(), db=database("meta"))

    def _count_content(
        self, changes: dict[bytes, ItemChange], new: Prepared, slots: dict[bytes, int]
    ) -> None:
        """Take changed items out of the content's sums as they were, and add what they become."""
        before: list[bytes] = []
        before_at: list[int] = []
        kept: list[bytes] = []
        kept_at: list[int] = []
        after = [item_record(key, changes[key].version, changes[key].extras) for key in slots]
        for key, change in changes.items():
            stored = change.stored
            stays = change.present and key not in slots
            if stays and (change.version, change.extras) == (stored.version, stored.extras):
                continue
            if stored.slot != NO_SLOT:
                before.append(item_record(key, stored.version, stored.extras))
                before_at.append(stored.slot)
            if stays:
                kept.append(item_record(key, change.version, change.extras))
                kept_at.append(stored.slot)
        vectors = new.rows.vectors
        placed = vectors.ctypes.data + vectors.strides[0] * np.arange(len(slots))
        dim, find = self._index.config.dim, self._rows.addresses
        gone = sum_content(before, find(np.array(before_at, np.uint32)), dim)
        come = sum_content(
            [*after, *kept], np.append(placed, find(np.array(kept_at, np.uint32))), dim
        )
        self.state.content = subtract(add(self.state.content, come), gone)

    def _add_entries(self, new: Prepared, given: U32, dead: U32, room: int) -> None:
        """Add the new rows' bucket entries, go on with merges, and free what a purge has freed."""
        index, state = self._index, self.state
        self._dying.switch_on(dead)
        state.dying += len(dead)
        done = add_entries(
            self._transaction, self._snapshot, index.environment, index.rows.chunk_bytes, state,
            self._live.addresses(), new.encoded.entries(given), room,
            self._purge_is_due(PURGE_SHARE),
        )  # fmt: skip
        self._note_purge(done)

    def _purge_is_due(self, share: float) -> bool:
        """Whether so many slots are dying, as a share of the live ones, and they fill a block."""
        state = self.state
        return state.dying > max(share * state.live, self._index.rows.rows_per_block)

    def _note_purge(self, done: Purge) -> None:
        """Keep the bitmaps of what dies and what is free in step with a purge."""
        state = self.state
        if Purge.BEGUN in done:
            self._dying.clear(state.slot_end)
            state.dying = 0
        if Purge.FINISHED in done:
            self._free_purged()

    def _free_purged(self) -> None:
        """Every slot that is neither live nor dying has no entries any more: it is free.

        So are those, too, that were given to rows of a commit which did not come about.
        """
        for page in range(-(-self.state.slot_end // LIVE_PAGE_SLOTS)):
            free = ~(self._live.page(page) | self._dying.page(page))
            left = self.state.slot_end - page * LIVE_PAGE_SLOTS
            if left < LIVE_PAGE_SLOTS:
                free[left // 8 :] = 0
            self._free.replace(page, free)

    def _sweep(
        self, changes: dict[bytes, ItemChange], batch: Batch, slots: dict[bytes, int]
    ) -> None:
        """Note which items the sweep is to spare: those that an upsert or the caller names."""
        state = self.state
        if batch.ends_sweep:
            state.sweeping = False
        if not state.sweeping:
            return
        named = {update.key for update in batch.updates if update.row is not None} | batch.seen
        spared = [
            slots.get(key, changes[key].stored.slot)
            for key in named & changes.keys()
            if changes[key].present
        ]
        untouched = stored_items(self._index, self._snapshot, named - changes.keys())
        spared += [item.slot for item in untouched.values() if item.slot != NO_SLOT]
        self._seen.switch_on(np.array(spared, np.uint32))

    def _write_items(
        self, changes: dict[bytes, ItemChange], slots: dict[bytes, int]
    ) -> list[bytes]:
        """Write ids and extras, note changed tags; the ids of which to keep a marker."""
        markers = []
        items: list[tuple[bytes, bytes]] = []
        extras: list[tuple[bytes, bytes]] = []
        for key, change in changes.items():
            stored = change.stored
            slot = slots.get(key, stored.slot) if change.present else NO_SLOT
            if stored.extras and (slot != stored.slot or not change.extras):
                self._transaction.delete(number_key(stored.slot), db=self._extras)
            if slot != stored.slot:
                self._tag_changes.replace(stored.slot, stored.extras, b"")
            before = stored.extras if slot == stored.slot else b""
            if change.present:
                if slot != stored.slot or change.version != stored.version:
                    items.append((key, pack_item(key, slot, change.version)))
                if before != change.extras:
                    self._tag_changes.replace(slot, before, change.extras)
                    if change.extras:
                        extras.append((number_key(slot), change.extras))
            elif change.version != NO_VERSION:
                if not stored.marker or change.version != stored.version:
                    markers.append(key)
                    items.append((key, pack_marker(key, change.version, self.state.commit)))
            elif stored.slot != NO_SLOT:
                self._transaction.delete(key, db=self._items)
        # In order of keys, neighbours share a page; and one call spares the interpreter many.
        for database, values in ((self._items, items), (self._extras, extras)):
            with self._transaction.cursor(database) as cursor:
                cursor.putmulti(sorted(values))
        return markers

    def _write_markers(self, markers: list[bytes]) -> None:
        """Note when this commit's delete markers were made, and drop those that are too old."""
        now = steady_time()
        if markers:
            record_key = commit_key(self.state.commit)
            record = pack_expiry(record_key, now, markers)
            self._transaction.put(record_key, record, db=self._expiry)
        with self._snapshot.cursor(self._expiry) as cursor:
            for key, value in islice(cursor, EXPIRED_RECORDS):
                made, ids = unpack_expiry(key, value)
                if now - made <= self._index.config.delete_retention:
                    break
                for item_id in ids:
                    self._drop_marker(item_id, int.from_bytes(key, "big"))
                self._transaction.delete(key, db=self._expiry)

    def _drop_marker(self, key: bytes, commit: int) -> None:
        """Drop a delete marker unless the id was written again since."""
        value = self._transaction.get(key, db=self._items)
        if value is not None and marker_commit(key, value) == commit:
            self._transaction.delete(key, db=self._items)
