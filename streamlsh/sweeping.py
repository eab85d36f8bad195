"""Mark and sweep: removing items that a source does not name any more.

A source that forgets deletes in time, such as a compacted topic, cannot say what was deleted while
nobody listened. Read again from its beginning it names all that there is: what it does not name is
a *ghost*.
"""

from __future__ import annotations

import numpy as np

from streamlsh.commit import check_epoch
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.failures import sound_records
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import RowReader
from streamlsh.storage.schema import LIVE_PAGE_SLOTS, STATE_KEY
from streamlsh.storage.state import read_state


def begin_sweep(index: Index, epoch: int) -> None:
    """Begin a sweep, or begin it anew: no item is named yet.

    Args:
        index: the open index.
        epoch: the writer's.

    Raises:
        FencedError: another writer took over.
        StorageError: the storage refused.
    """
    environment = index.environment
    meta = environment.database("meta")
    with environment.write() as transaction, environment.read() as snapshot:
        state = read_state(snapshot, meta)
        check_epoch(index, state, epoch)
        seen = Bitmap(snapshot, environment.database("seen"))
        seen.clear(state.slot_end)
        seen.write(transaction)
        state.sweeping = True
        transaction.put(STATE_KEY, state.pack(), db=meta)


def find_ghosts(index: Index) -> list[str]:
    """The ids of the items that were not named since the sweep began.

    Raises:
        CorruptIndexError: they cannot be read.
    """
    environment = index.environment
    with environment.read() as snapshot, sound_records(environment.path):
        state = read_state(snapshot, environment.database("meta"))
        live = Bitmap(snapshot, environment.database("live"))
        seen = Bitmap(snapshot, environment.database("seen"))
        rows = RowReader(snapshot, environment, index.rows, state.open_block)
        ghosts = []
        for page in range(-(-state.slot_end // LIVE_PAGE_SLOTS)):
            bits = np.unpackbits(live.page(page) & ~seen.page(page), bitorder="little")
            slots = page * LIVE_PAGE_SLOTS + np.flatnonzero(bits)
            ghosts += [rows.name(slot).decode() for slot in slots.tolist()]
        return ghosts
