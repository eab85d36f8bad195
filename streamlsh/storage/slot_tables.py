"""Where what stands at slots is in memory: tables of addresses, for kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import CorruptIndexError
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.changes import Changes
from streamlsh.storage.environment import Environment
from streamlsh.storage.names import least_bytes
from streamlsh.storage.opening import Index
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT
from streamlsh.storage.schema import IN_PLACE, LIVE_PAGE_SLOTS, PAD, number_key
from streamlsh.storage.state import NO_BLOCK, State
from streamlsh.storage.values import address_of, sized

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SlotTables:
    """Addresses of what stands at the slots of a commit; valid while a transaction sees it.

    Attributes:
        blocks: of the slot blocks, 0 where the open block stands in strips alone.
        names: of the name blocks likewise.
        live: of the live bitmap's pages, 0 where there is none.
        strips: of the open block's strips, 0 for one that was not written; none without such a
            block.
        name_strips: of its name strips likewise.
        end: address behind the last of all these values.
    """

    blocks: I64
    names: I64
    live: I64
    strips: I64
    name_strips: I64
    end: int


def slot_tables(
    index: Index,
    transaction: lmdb.Transaction,
    state: State,
    before: SlotTables | None,
    changes: Changes | None,
) -> SlotTables:
    """The tables of the commit that a transaction sees.

    Args:
        index: the open index.
        transaction: a read transaction.
        state: of the commit.
        before: the tables of an earlier commit to take addresses from, if there are any.
        changes: what was written since; ``None`` if that is not known.

    Raises:
        CorruptIndexError: a value is missing or too short. Kernels do not look.
    """
    check_slots(index, transaction, state)
    layout = index.rows
    blocks = state.slot_end >> layout.block_shift
    pages = -(-state.slot_end // LIVE_PAGE_SLOTS)
    nothing = np.zeros(0, np.int64)
    if before is None or changes is None:
        before = SlotTables(nothing, nothing, nothing, nothing, nothing, 0)
        changes = Changes(np.arange(blocks, dtype=np.uint32), np.arange(pages, dtype=np.uint32))
    find = _Lookup(transaction, index.environment, before.end)
    size = layout.rows_per_block
    rows_at = find.table("blocks", before.blocks, blocks, changes.blocks, layout.value_bytes(size))
    names_at = find.table("names", before.names, blocks, changes.blocks, least_bytes(size))
    live = find.table("live", before.live, pages, changes.pages, IN_PLACE)
    strips: list[bytes] = []
    if state.open_block != NO_BLOCK:
        first = state.open_block << layout.block_shift >> STRIP_SHIFT
        strips = [number_key(strip) for strip in range(first, first + size // STRIP_ROWS)]
    tables = SlotTables(
        rows_at, names_at, live,
        find.addresses("strips", strips, layout.value_bytes(STRIP_ROWS)),
        find.addresses("name_strips", strips, least_bytes(STRIP_ROWS)),
        find.end,
    )  # fmt: skip
    bitmap = Bitmap(transaction, index.environment.database("live"))
    for what, at, strips_at in (
        ("rows", rows_at, tables.strips), ("names", names_at, tables.name_strips),
    ):  # fmt: skip
        _check_present(what, at, strips_at, state.open_block, size, bitmap)
    return tables


def check_slots(index: Index, transaction: lmdb.Transaction, state: State) -> None:
    """Check that there are as many slots as the blocks have: memory is taken by their number.

    Args:
        index: the open index.
        transaction: a read transaction.
        state: of the commit that it sees.

    Raises:
        CorruptIndexError: there are others.
    """
    blocks = state.slot_end >> index.rows.block_shift
    stored = transaction.stat(index.environment.database("blocks"))["entries"]
    # A new block may stand in strips alone.
    if not stored <= blocks <= stored + 1 or not NO_BLOCK <= state.open_block < blocks:
        raise CorruptIndexError(
            "the count of slots of the index is damaged; restore it from a copy or rebuild it",
            expected=f"slots of {stored} blocks, of which one may be open",
            received=f"{state.slot_end} slots and open block {state.open_block}",
        )  # fmt: skip


class _Lookup:
    """Looks up where values are, and keeps the address behind the last one."""

    def __init__(self, transaction: lmdb.Transaction, environment: Environment, end: int) -> None:
        self._transaction = transaction
        self._environment = environment
        self.end = end

    def addresses(self, name: str, keys: Iterable[bytes], size: int) -> I64:
        """Where the content of values is, which have at least a size; 0 where there are none."""
        database = self._environment.database(name)
        found = []
        for key in keys:
            value = self._transaction.get(key, db=database)
            address = 0 if value is None else address_of(sized(value, size))
            self.end = max(self.end, address + len(value or b""))
            found.append(address + PAD if address else 0)
        return np.array(found, np.int64)

    def table(
        self, name: str, known: I64, count: int, numbers: NDArray[np.uint32], size: int
    ) -> I64:
        """The table that was known, grown to ``count``, with those of some numbers anew."""
        table = np.zeros(count, np.int64)
        table[: len(known)] = known
        table[numbers] = self.addresses(name, map(number_key, numbers.tolist()), size)
        return table


def _check_present(
    what: str, blocks: I64, strips: I64, open_block: int, capacity: int, live: Bitmap
) -> None:
    """Check that every live slot has a row, or a name; blocks and strips are theirs."""
    absent = np.flatnonzero(blocks == 0)
    if (absent != open_block).any():
        block = int(absent[(absent != open_block).argmax()])
        raise _missing(f"{what} from slot {block * capacity} on")
    if len(absent):
        # The open block stands in strips alone: those that hold what was given out.
        first = open_block * (capacity >> STRIP_SHIFT)
        given = live.counts(first + np.arange(len(strips)), STRIP_ROWS) > 0
        lost = given & (strips == 0)
        if lost.any():
            raise _missing(f"{what} from slot {STRIP_ROWS * (first + int(lost.argmax()))} on")


def _missing(what: str) -> CorruptIndexError:
    return CorruptIndexError(
        "a part of the index is missing; restore it from a copy or rebuild it",
        expected=what, received="none",
    )  # fmt: skip
