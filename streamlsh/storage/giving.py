"""Giving out slots: which of the free ones new rows get.

A slot is *live* while it holds an item's current vector; *dying* from its item's change or removal
until a purge has left its bucket entries behind; then it is *free* and is given out again. A
block is written as a whole, so one is refilled only where that gives many slots. The first to be
given out are those of the *open block*, whose new rows stand in strips: that makes small commits
cheap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.config import MAX_SLOTS
from streamlsh.errors import SlotsExhaustedError
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.state import NO_BLOCK, State

REFILL_SHARE = 1 / 8
"""Share of a block's slots that must be free for it to be refilled: a row that is stored so
costs at most eight rows of writing. The blocks with the most free slots come first."""
REFILLS = 16
"""Blocks that one transaction refills at most, about 4 MiB. The pages that they had can be used
again only by the next but one, so a large commit that refilled all its blocks in one transaction
would make the file grow by as much."""

U32 = NDArray[np.uint32]


def give_slots(free: Bitmap, state: State, block_shift: int, count: int) -> U32:
    """Up to ``count`` slots for new rows, block by block, and rising within each.

    Fewer come back if another transaction should give the rest; never none.

    Args:
        free: the bitmap of free slots; those that are given are switched off.
        state: of the transaction; its ``slot_end`` and ``open_block`` are brought up to date.
        block_shift: log2 of the slots of a block.
        count: how many are wanted, at least one.

    Raises:
        SlotsExhaustedError: no slot numbers are left.
    """
    capacity = 1 << block_shift
    given: list[U32] = []
    wanted = count
    if state.open_block != NO_BLOCK:
        wanted -= _take(free, state.open_block, capacity, wanted, given, state)
    if wanted:
        counts = _counts(free, state, block_shift)
        roomy = np.flatnonzero(counts >= REFILL_SHARE * capacity)
        order = roomy[np.argsort(-counts[roomy], kind="stable")]
        for block in order[:REFILLS].tolist():
            if not wanted:
                break
            wanted -= _take(free, block, capacity, wanted, given, state)
        if len(order) > REFILLS:
            wanted = 0
    while wanted:
        if state.slot_end + capacity > MAX_SLOTS:
            raise SlotsExhaustedError(
                f"the index has given out {state.slot_end} slots of {MAX_SLOTS}; "
                "spread its items over several indexes"
            )
        block = state.slot_end >> block_shift
        free.switch_on(np.arange(state.slot_end, state.slot_end + capacity, dtype=np.uint32))
        state.slot_end += capacity
        wanted -= _take(free, block, capacity, wanted, given, state)
    return np.concatenate(given)


def roomy_slots(free: Bitmap, state: State, block_shift: int) -> int:
    """How many slots can be given out before the index must grow.

    Args:
        free: the bitmap of free slots.
        state: of the transaction.
        block_shift: log2 of the slots of a block.
    """
    counts = _counts(free, state, block_shift)
    is_open = np.arange(len(counts)) == state.open_block
    return int(counts[is_open | (counts >= REFILL_SHARE * (1 << block_shift))].sum())


def _counts(free: Bitmap, state: State, block_shift: int) -> NDArray[np.intp]:
    """(blocks,) free slots of each block."""
    return free.counts(np.arange(state.slot_end >> block_shift), 1 << block_shift)


def _take(
    free: Bitmap, block: int, capacity: int, wanted: int, given: list[U32], state: State
) -> int:
    """Give free slots of a block; it stays open if it has more. How many were given."""
    slots = free.slots(block * capacity, capacity)
    state.open_block = block if len(slots) > wanted else NO_BLOCK
    slots = slots[:wanted]
    free.switch_off(slots)
    given.append(slots)
    return len(slots)
