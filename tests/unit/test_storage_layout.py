"""How rows, entries and bits are packed, and when segments are merged."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import lmdb
import numpy as np
import pytest

from streamlsh.buckets.layout import (
    BLOCK,
    GROUP_BYTES,
    GROUP_ENTRIES,
    LANES,
    WORDS,
    Entries,
    blocks_per_chunk,
    pack_entries,
    pack_group,
    unpack_entries,
    unpack_group,
)
from streamlsh.buckets.segment import (
    RATIO,
    TAIL_ENTRIES,
    Segment,
    due_merge,
    read_directory,
    read_segment,
    write_segment,
)
from streamlsh.storage.bitmap import Bitmap
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
from tests.entries import same


def entries_of(count: int) -> Entries:
    rng = np.random.default_rng(count)
    return Entries(
        rng.integers(0, 99, count).astype(np.uint32),
        rng.integers(0, 2**64, (count, WORDS), np.uint64),
        rng.standard_normal(count).astype(np.float16),
        rng.standard_normal(count).astype(np.float16),
        rng.integers(0, 2**32, count).astype(np.uint32),
    )


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, GROUP_ENTRIES])
def test_entries_come_back_as_they_were_packed(count: int) -> None:
    entries = entries_of(count)
    blocks = pack_entries(entries)
    assert blocks.itemsize == 320
    assert len(blocks) == -(-count // LANES)
    assert same(unpack_entries(blocks, entries.buckets), entries)
    group = pack_group(entries)
    assert len(group) == GROUP_BYTES
    assert same(unpack_group(group.data, count), entries)


def test_the_lanes_past_the_last_entry_are_zero() -> None:
    blocks = pack_entries(entries_of(11))
    for name in ("f", "a", "slots"):
        assert not blocks[name][1, 3:].any()
    assert not blocks["bits"][1, :, 3:].any()


def test_a_chunk_of_entry_blocks_fits_into_a_large_value() -> None:
    for size in (IN_PLACE, 5_000, 1 << 20):
        room = size - PAD
        assert 0 <= room - blocks_per_chunk(size) * BLOCK.itemsize < BLOCK.itemsize


def test_entries_can_be_joined_and_taken() -> None:
    one, two = entries_of(5), entries_of(9)
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
    packed = layout.pack([None], STRIP_ROWS, np.arange(count, dtype=np.uint32), rows)
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
        for turn in range(1, 6):
            with environment.begin(write=True) as transaction:
                bitmap = Bitmap(transaction, database)
                on = rng.choice(len(expected) // (1 + turn % 2), 500).astype(np.uint32)
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
                assert bitmap.slots(LIVE_PAGE_SLOTS + 64, 64).tolist() == [
                    slot
                    for slot in range(LIVE_PAGE_SLOTS + 64, LIVE_PAGE_SLOTS + 128)
                    if expected[slot]
                ]
                assert set(bitmap.write(transaction)) <= {0, 1, 2}
        with environment.begin() as transaction:
            again = Bitmap(transaction, database)
            everything = np.arange(len(expected), dtype=np.uint32)
            np.testing.assert_array_equal(again.test(everything), expected)
            again.clear(len(expected))
            assert not again.test(everything).any()


def test_a_page_that_was_never_written_has_no_bits() -> None:
    class Empty:
        def get(self, key: bytes, db: object) -> None:
            assert key
            assert db is None

    bitmap = Bitmap(Empty(), None)  # type: ignore[arg-type]
    assert not bitmap.test(np.array([5, 99_999], np.uint32)).any()


def segments_of(*sizes: int) -> list[Segment]:
    return [Segment(number, size, 1, 1) for number, size in enumerate(sizes)]


def due(segments: list[Segment], new: int) -> list[int]:
    return [segment.number for segment in due_merge(segments, new)]


def test_new_entries_take_along_the_young_segments_that_are_not_large_beside_them() -> None:
    new = TAIL_ENTRIES
    assert due([], new) == []
    assert due(segments_of(RATIO * new), new) == []
    assert due(segments_of(RATIO * new - 1), new) == [0]
    assert due(segments_of(100 * new, RATIO * new), new) == []
    # What is taken along counts for what is older.
    assert due(segments_of(100 * new, RATIO * new - 1), new) == [1]
    assert due(segments_of(RATIO * RATIO * new, RATIO * new - 1), new) == [0, 1]
    # An older segment may be small beside a younger one that stays.
    assert due(segments_of(5, RATIO * new), new) == []


def test_segments_stay_few_and_each_is_large_beside_the_next_younger_one() -> None:
    rng = np.random.default_rng(0)
    segments: list[Segment] = []
    written = total = 0
    for number in range(2_000):
        new = TAIL_ENTRIES + int(rng.integers(1, TAIL_ENTRIES))
        merged = due_merge(segments, new)
        segments = segments[: len(segments) - len(merged)]
        total += new
        written += new + sum(segment.entries for segment in merged)
        segments.append(Segment(number, new + sum(s.entries for s in merged), 1, 1))
        sizes = [segment.entries for segment in segments]
        assert all(older >= RATIO * younger for older, younger in pairwise(sizes))
        assert len(segments) <= 5
    assert sum(segment.entries for segment in segments) == total
    assert written < 20 * total, "an entry is not written again and again"


CHUNK_BYTES = 3_000
"""Size of large values, for a few blocks of entries in each."""


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_segment_holds_the_live_entries_of_those_it_replaces_and_new_ones(
    share: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    entries = entries_of(700)
    entries.slots[:] = np.arange(700)
    alive = np.ones(LIVE_PAGE_SLOTS, np.bool_)
    older: list[Segment] = []
    with lmdb.open(str(tmp_path), max_dbs=1) as environment:
        database = environment.open_db(b"segments")
        for number, (start, stop) in enumerate([(0, 300), (300, 500), (500, 700)]):
            if number == 2:
                alive = rng.random(LIVE_PAGE_SLOTS) < share
            page = np.packbits(alive, bitorder="little")
            new = entries.take(rng.permutation(np.arange(start, stop)))
            with (
                environment.begin(buffers=True) as snapshot,
                environment.begin(write=True) as transaction,
            ):
                segment = write_segment(
                    transaction, snapshot, database, CHUNK_BYTES, number,
                    older if number == 2 else [], new, np.array([page.ctypes.data], np.int64),
                )  # fmt: skip
            if number < 2:
                assert segment is not None
                older.append(segment)
        expected = entries.take(alive[:700])
        expected = expected.take(np.lexsort((expected.slots, expected.buckets)))
        with environment.begin(buffers=True) as transaction:
            keys = [bytes(key) for key, _ in transaction.cursor(database)]
            if share == 0:
                assert segment is None
                assert keys == [], "nothing is left of the segments that were replaced"
                return
            assert segment is not None
            assert keys == [segment_key(2, part) for part in range(segment.chunks + 1)]
            codes, starts = read_directory(transaction, database, segment)
            assert codes.tolist() == sorted(set(expected.buckets.tolist()))
            assert segment.codes == len(codes) == len(starts) - 1
            assert segment.entries == starts[-1] == len(expected)
            assert same(read_segment(transaction, database, segment), expected)
