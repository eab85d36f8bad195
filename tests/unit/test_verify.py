"""``verify`` finds what was changed behind the library's back, and names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh.buckets.layout import BLOCK, GROUP_ENTRIES, LANES
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.items import pack_item
from streamlsh.storage.rows import STRIP_ROWS, RowLayout
from streamlsh.storage.schema import (
    ITEM,
    PAD,
    STATE_KEY,
    number_key,
    segment_key,
    tag_prefix,
)
from streamlsh.storage.state import State, read_state
from tests.conftest import FAMILIES
from tests.tampering import flip, tampering

DIM = 8
GROUP_BYTES = 4 * GROUP_ENTRIES
"""What the bucket numbers of a tail group take, at its end."""

pytestmark = pytest.mark.usefixtures("small_parts")


@dataclass(frozen=True)
class Victim:
    """An index with blocks, strips, segments and a tail, and where its parts are."""

    path: Path
    state: State
    rows: RowLayout
    slots: dict[str, int]

    def in_block(self) -> int:
        """A live slot of a full block."""
        return min(slot for slot in self.slots.values() if slot < 96)

    def in_strip(self) -> int:
        """A live slot of the open block."""
        return max(self.slots.values())

    def dead(self) -> int:
        """A slot that is no item's any more."""
        return min(set(range(self.state.slot_end)) - set(self.slots.values()))

    def change_state(self, change: Callable[[State], None]) -> None:
        change(self.state)
        with tampering(self.path, "meta") as transaction:
            transaction.put(STATE_KEY, self.state.pack())

    def change_item(self, name: str, slot: int) -> None:
        with tampering(self.path, "items") as transaction:
            transaction.put(name.encode(), pack_item(name.encode(), slot, 1))

    def drop(self, database: str, key: bytes) -> None:
        with tampering(self.path, database) as transaction:
            assert transaction.delete(key)

    def carriers(self, tag: str) -> bytes:
        """Key of the slots of page 0 that carry a tag."""
        return tag_prefix(tag.encode()) + number_key(0)

    def copy_tag(self, tag: str, other: str) -> None:
        with tampering(self.path, "tags") as transaction:
            value = transaction.get(self.carriers(tag))
            assert value
            transaction.put(self.carriers(other), value)

    def flip_live(self, slot: int) -> None:
        flip(self.path, "live", number_key(0), PAD + slot // 8, slot % 8)

    def flip_name(self, slot: int) -> None:
        """Flip a bit in the first byte of the id of a slot."""
        database = "name_strips" if slot == self.in_strip() else "names"
        with tampering(self.path, database) as transaction:
            value = transaction.get(number_key(slot // 32)) or b""
        ends = np.frombuffer(value, np.uint32, 32, PAD)
        start = int(ends[slot % 32 - 1]) if slot % 32 else 0
        flip(self.path, database, number_key(slot // 32), PAD + ends.nbytes + start)

    def flip_row(self, slot: int, column: str) -> None:
        """Flip the sign, or the top bit, of the first number of a column of a row."""
        database, rows = ("strips", STRIP_ROWS) if slot == self.in_strip() else ("blocks", 1 << 5)
        at = slot % rows
        offsets = {
            "vectors": 4 * DIM * at,
            "codes": 4 * DIM * rows + self.rows.code_width * at,
            "step": (4 * DIM + self.rows.code_width) * rows + 4 * at,
            "inverse norm": (4 * DIM + self.rows.code_width + 4) * rows + 4 * at,
        }
        last = 0 if column == "codes" else 3
        flip(self.path, database, number_key(slot // rows), PAD + offsets[column] + last, 2)

    def flip_entry(self, database: str, key: bytes, part: str) -> None:
        """Flip a bit in the first live entry of a segment's chunk, or of the tail."""
        with tampering(self.path, database) as transaction:
            value = bytearray(transaction.get(key) or b"")
            count = (len(value) - PAD) // BLOCK.itemsize
            blocks = np.frombuffer(value, BLOCK, count, PAD)
            live = np.isin(blocks["slots"].reshape(-1), list(self.slots.values()))
            block, lane = divmod(int(np.argmax(live)), LANES)
            if part == "buckets":
                buckets = np.frombuffer(value, np.uint32, GROUP_ENTRIES, len(value) - GROUP_BYTES)
                buckets[block * LANES + lane] ^= 1
            elif part == "bits":
                blocks["bits"][block, 0, lane] ^= 1 << 5
            else:
                blocks[part][block : block + 1, lane : lane + 1].view(np.uint8)[0, 1] ^= 1 << 4
            transaction.put(key, bytes(value))


@pytest.fixture(params=FAMILIES)
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Victim:
    path = tmp_path / "index"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, DIM)).astype(np.float32)
    parameters: dict[str, Any] = (
        {"cells": 6} if request.param == "voronoi" else {"bits": 3, "tables": 2}
    )
    streamlsh.create(path, dim=DIM, family=request.param, sample=rows, **parameters)
    with streamlsh.writer(path) as writer:
        writer.upsert([f"i{row}" for row in range(100)], rows[:100], versions=[1] * 100)
        writer.commit()
        writer.upsert(["i3", "i4"], rows[100:102], tags=[["a"], ["b"]])
        writer.commit()
        writer.delete(["i5"])
    with streamlsh.open(path) as reader:
        assert reader.verify().items == 99
        index = reader._index
        with index.environment.read() as transaction:
            state = read_state(transaction, index.environment.database("meta"))
            with transaction.cursor(index.environment.database("items")) as cursor:
                slots = {bytes(key).decode(): ITEM.unpack_from(value)[0] for key, value in cursor}
        del slots["i5"]
        assert state.tail_entries
        assert state.segments
        assert state.slot_end > 96
        return Victim(path, state, index.rows, slots)


def set_live(count: int) -> Callable[[State], None]:
    def change(state: State) -> None:
        state.live += count

    return change


TAMPERS: list[tuple[str, Callable[[Victim], None]]] = [
    ("live bit of an item's slot", lambda v: v.flip_live(v.in_block())),
    ("number of live bits", lambda v: v.flip_live(v.dead())),
    ("never given out", lambda v: v.change_item("i7", 5000)),
    ("names another item", lambda v: v.change_item("i7", v.slots["i8"])),
    ("count of items in the state", lambda v: v.change_state(set_live(1))),
    ("count of items in the state", lambda v: v.change_state(set_live(-1))),
    ("count of items in the state", lambda v: v.drop("items", b"i9")),
    ("names another item", lambda v: v.flip_name(v.in_block())),
    ("names another item", lambda v: v.flip_name(v.in_strip())),
    ("missing", lambda v: v.drop("names", number_key(v.in_block() // 32))),
    ("missing", lambda v: v.drop("name_strips", number_key(v.in_strip() // 32))),
    ("count of slots", lambda v: v.drop("blocks", number_key(v.in_block() // 32))),
    ("missing", lambda v: v.drop("strips", number_key(v.in_strip() // 32))),
    ("content of the items", lambda v: v.drop("extras", number_key(v.slots["i3"]))),
    ("slots of tag 'a' in page 0", lambda v: v.drop("tags", v.carriers("a"))),
    ("slots of tag 'a' in page 0", lambda v: flip(v.path, "tags", v.carriers("a"), 0)),
    ("pages of slots by tag", lambda v: v.copy_tag("a", "z")),
    ("missing", lambda v: v.drop("tail", number_key(0))),
    ("missing", lambda v: v.drop("segments", segment_key(v.state.segments[0].number, 0))),
    ("missing", lambda v: v.drop("segments", segment_key(v.state.segments[0].number, 1))),
    *(
        (named, lambda v, c=column: v.flip_row(v.in_block(), c))
        for column, named in (
            ("vectors", "content of the items"),
            ("codes", "codes of a row"),
            ("step", "step of a row"),
            ("inverse norm", "inverse norm of a row"),
        )
    ),
    ("content of the items", lambda v: v.flip_row(v.in_strip(), "vectors")),
    ("codes of a row", lambda v: v.flip_row(v.in_strip(), "codes")),
    *(
        (named, lambda v, p=part: v.flip_entry("segments", segment_key(0, 1), p))
        for part, named in (
            ("bits", "bits of a bucket entry"),
            ("f", "f of a bucket entry"),
            ("a", "a of a bucket entry"),
            ("slots", "order of segment 0|number of live bucket entries|of a bucket entry"),
        )
    ),
    *(
        (named, lambda v, p=part: v.flip_entry("tail", number_key(0), p))
        for part, named in (
            ("bits", "bits of a bucket entry"),
            ("slots", "number of live bucket entries|of a bucket entry"),
            ("buckets", "buckets of a bucket entry"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("named", "tamper"), TAMPERS)
def test_a_change_behind_the_librarys_back_is_found_and_named(
    victim: Victim, named: str, tamper: Callable[[Victim], None]
) -> None:
    tamper(victim)
    with streamlsh.open(victim.path) as reader:
        with pytest.raises(CorruptIndexError, match=named) as caught:
            reader.verify()
        assert str(caught.value.expected) in str(caught.value)
        assert str(caught.value.received) in str(caught.value)


def test_an_entry_that_stands_in_no_segment_is_missed(victim: Victim) -> None:
    """One entry is overwritten by a copy of its neighbour."""
    segment = victim.state.segments[0]
    with tampering(victim.path, "segments") as transaction:
        key = segment_key(segment.number, 1)
        value = bytearray(transaction.get(key) or b"")
        block = np.frombuffer(value, BLOCK, 1, offset=PAD)
        for column in ("f", "a", "slots"):
            block[column][0][1] = block[column][0][0]
        block["bits"][0][:, 1] = block["bits"][0][:, 0]
        transaction.put(key, bytes(value))
    with streamlsh.open(victim.path) as reader, pytest.raises(CorruptIndexError):
        reader.verify()


@pytest.mark.parametrize("value", [b"\xc1", b"\x93\x01"])
def test_extras_that_cannot_be_read_are_named(victim: Victim, value: bytes) -> None:
    with tampering(victim.path, "extras") as transaction:
        transaction.put(number_key(victim.slots["i3"]), value)
    with (
        streamlsh.open(victim.path) as reader,
        pytest.raises(CorruptIndexError, match="cannot be read"),
    ):
        reader.verify()


def test_an_item_record_that_is_too_short_is_named(victim: Victim) -> None:
    with tampering(victim.path, "items") as transaction:
        transaction.put(b"i9", b"\x01\x02")
    with (
        streamlsh.open(victim.path) as reader,
        pytest.raises(CorruptIndexError, match="record of id"),
    ):
        reader.verify()


def test_a_sound_index_is_reported_with_its_counts(victim: Victim) -> None:
    with streamlsh.open(victim.path) as reader:
        report = reader.verify()
    assert report.items == 99
    assert report.markers == 1
    assert report.segments == len(victim.state.segments)
    assert report.entries >= 2 * 99
