"""How rows, entries and bits are packed, and when segments are merged."""

from __future__ import annotations

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES, Entries, EntryLayout
from streamlsh.buckets.segment import FAN_OUT, TAIL_ENTRIES, Segment, due_merge
from streamlsh.storage.live import LiveBitmap
from streamlsh.storage.rows import STRIP_ROWS, RowLayout, Rows, default_block_shift
from streamlsh.storage.schema import (
    IN_PLACE,
    LIVE_PAGE_SLOTS,
    PAD,
    in_place,
    parse_position_key,
    position_key,
    segment_key,
)


def entries_of(count: int, words: int) -> Entries:
    rng = np.random.default_rng(count)
    return Entries(
        rng.integers(0, 99, count).astype(np.uint32),
        rng.integers(0, 2**64, (count, words), np.uint64),
        rng.standard_normal(count).astype(np.float16),
        rng.standard_normal(count).astype(np.float16),
        rng.integers(0, 2**32, count).astype(np.uint32),
    )


def same(one: Entries, other: Entries) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("buckets", "bits", "f", "a", "slots")
    )


@pytest.mark.parametrize("words", [1, 4, 6, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, GROUP_ENTRIES])
def test_entries_come_back_as_they_were_packed(words: int, count: int) -> None:
    layout, entries = EntryLayout(words), entries_of(count, words)
    blocks = layout.pack(entries)
    assert blocks.itemsize == 64 * words + 64
    assert len(blocks) == -(-count // 8)
    assert same(layout.unpack(blocks, entries.buckets), entries)
    group = layout.pack_group(entries)
    assert len(group) == layout.group_bytes
    assert same(layout.unpack_group(memoryview(group), count), entries)


def test_entries_can_be_joined_and_taken() -> None:
    one, two = entries_of(5, 4), entries_of(9, 4)
    both = Entries.joined([one, two])
    assert len(both) == 14
    assert same(both.take(slice(0, 5)), one)
    assert same(both.take(np.arange(14) >= 5), two)


@pytest.mark.parametrize("dim", [1, 3, 31, 32, 33, 128, 384, 1000, 8192])
def test_rows_come_back_as_they_were_packed(dim: int) -> None:
    layout = RowLayout.of(dim, default_block_shift(dim))
    assert layout.code_width % 16 == 0
    assert 2 * layout.code_width >= dim
    assert STRIP_ROWS <= layout.rows_per_block <= LIVE_PAGE_SLOTS
    rng = np.random.default_rng(0)
    count = STRIP_ROWS - 3
    rows = Rows(
        rng.standard_normal((count, dim), dtype=np.float32),
        rng.integers(0, 256, (count, layout.code_width)).astype(np.uint8),
        rng.standard_normal(count, dtype=np.float32),
        rng.standard_normal(count, dtype=np.float32),
    )
    packed = layout.pack(rows, STRIP_ROWS)
    assert len(packed) == layout.value_bytes(STRIP_ROWS) >= IN_PLACE
    back = layout.view(memoryview(packed), STRIP_ROWS, count)
    for name in ("vectors", "codes", "step", "inverse_norm"):
        assert getattr(back, name).tobytes() == getattr(rows, name).tobytes()


def test_values_that_kernels_read_are_never_short_and_begin_after_the_padding() -> None:
    for content in (b"", b"abc", b"x" * 5000):
        value = in_place(content)
        assert len(value) >= IN_PLACE
        assert value[PAD : PAD + len(content)] == content


def test_keys_sort_by_their_numbers_and_positions_name_their_stream() -> None:
    pairs = [(0, 1), (0, 2), (1, 0), (255, 3), (256, 0), (70_000, 1)]
    keys = [segment_key(*pair) for pair in pairs]
    assert keys == sorted(keys)
    assert parse_position_key(position_key("über/topic", 70_000)) == ("über/topic", 70_000)


def test_bits_are_switched_tested_and_counted_across_pages(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("bitmap")
    rng = np.random.default_rng(0)
    expected = np.zeros(3 * LIVE_PAGE_SLOTS, np.bool_)
    with lmdb.open(str(path), max_dbs=1) as environment:
        database = environment.open_db(b"live")
        stamps: NDArray[np.uint64] = np.zeros(0, np.uint64)
        for commit in range(1, 6):
            with environment.begin(write=True) as transaction:
                bitmap = LiveBitmap(transaction, database)
                on = rng.choice(len(expected) // (1 + commit % 2), 500).astype(np.uint32)
                off = rng.choice(len(expected), 300).astype(np.uint32)
                bitmap.switch_on(on)
                bitmap.switch_off(off)
                expected[on] = True
                expected[off] = False
                slots = rng.permutation(len(expected)).astype(np.uint32)
                np.testing.assert_array_equal(bitmap.test(slots), expected[slots])
                blocks = np.arange(len(expected) // 64)
                np.testing.assert_array_equal(
                    bitmap.counts(blocks, 64), expected.reshape(-1, 64).sum(axis=1)
                )
                stamps = bitmap.write(transaction, stamps, commit)
            assert (stamps == commit).all()
        with environment.begin() as transaction:
            again = LiveBitmap(transaction, database)
            everything = np.arange(len(expected), dtype=np.uint32)
            np.testing.assert_array_equal(again.test(everything), expected)


def test_a_page_that_was_never_written_has_no_bits() -> None:
    class Empty:
        def get(self, key: bytes, db: object) -> None:
            assert key
            assert db is None

    bitmap = LiveBitmap(Empty(), None)  # type: ignore[arg-type]
    assert not bitmap.test(np.array([5, 99_999], np.uint32)).any()


def segments_of(*sizes: int) -> list[Segment]:
    return [Segment(number, size, 1, 1) for number, size in enumerate(sizes)]


def test_segments_of_a_tier_are_merged_once_there_are_enough_of_them() -> None:
    many = 1 << 40  # so many live entries that dead ones are no reason
    full = [TAIL_ENTRIES + 1] * FAN_OUT
    assert due_merge(segments_of(*full[1:]), many) == []
    due = due_merge(segments_of(*full, TAIL_ENTRIES * FAN_OUT * 3), many)
    assert [segment.number for segment in due] == list(range(FAN_OUT))
    large = [TAIL_ENTRIES * FAN_OUT] * FAN_OUT
    assert [s.number for s in due_merge(segments_of(*large, 5), many)] == list(range(FAN_OUT))
    assert Segment(0, TAIL_ENTRIES, 1, 1).level == 0
    assert Segment(0, TAIL_ENTRIES * FAN_OUT, 1, 1).level == 1
    assert Segment(0, TAIL_ENTRIES * FAN_OUT**2, 1, 1).level == 2


def test_a_set_of_merged_segments_lands_in_a_higher_tier() -> None:
    """Else the merge would be due again at once."""
    for level in range(3):
        size = TAIL_ENTRIES * FAN_OUT**level
        assert Segment(0, FAN_OUT * size, 1, 1).level > Segment(0, size, 1, 1).level


def test_all_segments_are_merged_once_most_of_their_entries_are_dead() -> None:
    segments = segments_of(*[TAIL_ENTRIES] * 6)
    assert due_merge(segments, 6 * TAIL_ENTRIES) == []
    assert due_merge(segments, TAIL_ENTRIES) == segments
    assert due_merge(segments[:1], 0) == [], "nothing is gained by merging one with itself"
