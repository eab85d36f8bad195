"""Checking every invariant of an index file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import Entries
from streamlsh.buckets.merging import read_unfinished
from streamlsh.buckets.segment import read_segment
from streamlsh.buckets.tail import read_tail
from streamlsh.content import Sums, add, content_digest, item_record, no_content, sum_content
from streamlsh.errors import CorruptIndexError
from streamlsh.preparing import prepare
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.changes import check_changes
from streamlsh.storage.failures import storage_errors
from streamlsh.storage.items import unpack_expiry, unpack_item
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import RowReader
from streamlsh.storage.positions import read_positions
from streamlsh.storage.rows import Rows
from streamlsh.storage.schema import LIVE_PAGE_SLOTS, NO_SLOT, number_key
from streamlsh.storage.slot_tables import check_slots
from streamlsh.storage.soundness import check_pages
from streamlsh.storage.state import State, read_calibration, read_state
from streamlsh.storage.tags import record_postings
from streamlsh.updates import unpack_extras

BATCH = 1024


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a sound index was found to hold.

    Attributes:
        items: live items, each with its row, record, sketches and bucket entries checked.
        markers: delete markers.
        entries: bucket entries, dead ones included.
        segments: how many segments.
    """

    items: int
    markers: int
    entries: int
    segments: int


def verify_index(index: Index, transaction: lmdb.Transaction) -> VerifyReport:
    """Walk the commit that a transaction sees.

    Checked, in this order: the pages of the newest commit and the list of free ones are such that
    LMDB can follow them; the checksums of all small records fit; every item's slot lies below the
    end, is live, is no other item's and has a record that names the item; the content adds up to
    the digest; the bitmaps and the record count agree with the number of items; the postings of
    tags are exactly those that the slots' records come to; every row's codes and norm are those of
    its vector, and its entries in segments and tail are exactly those that the family gives for its
    vector; segments are sorted and as long as the state says; what merges under way have written
    are entries of their sources.

    Raises:
        CorruptIndexError: naming the first invariant that is broken.
    """
    environment = index.environment
    try:
        with storage_errors(environment.path):
            check_pages(environment.path, environment.handle)
            state = read_state(transaction, environment.database("meta"))
            check_slots(index, transaction, state)
            _check_records(index, transaction)
            rows = RowReader(transaction, environment, index.rows, state.open_block)
            slots, markers = _check_items(index, transaction, state, rows)
            _check_bitmaps(index, transaction, state, slots)
            _check_tags(index, transaction)
            entries = _read_entries(index, transaction, state)
            _check_rows(index, rows, slots, entries)
    except (ValueError, TypeError, KeyError, IndexError, struct.error) as error:
        raise CorruptIndexError(
            f"a record of {environment.path} cannot be read", expected="a sound record",
            received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    return VerifyReport(len(slots), markers, len(entries), len(state.segments))


def _require(sound: bool, what: str, expected: object, received: object) -> None:
    if not sound:
        raise CorruptIndexError(what, expected=expected, received=received)


def _check_records(index: Index, transaction: lmdb.Transaction) -> None:
    """Check the checksums of what nothing else is compared with."""
    environment = index.environment
    read_calibration(transaction, environment.database("meta"))
    read_positions(transaction, environment)
    check_changes(transaction, environment.database("changes"))
    with transaction.cursor(environment.database("expiry")) as cursor:
        for key, value in cursor:
            unpack_expiry(key, value)


def _check_items(
    index: Index, transaction: lmdb.Transaction, state: State, rows: RowReader
) -> tuple[NDArray[np.uint32], int]:
    """Sorted slots of all items, and the number of delete markers; the content is added up."""
    environment = index.environment
    slots: list[int] = []
    records: list[bytes] = []
    content = no_content()

    def sums() -> Sums:
        """Of the items that the records are of, the latest."""
        vectors = rows.addresses(np.array(slots[len(slots) - len(records) :], np.uint32))
        return sum_content(records, vectors, index.config.dim)

    markers = 0
    with transaction.cursor(environment.database("items")) as cursor:
        for key, value in cursor:
            name = bytes(key)
            slot, version = unpack_item(name, value)
            if slot == NO_SLOT:
                markers += 1
                continue
            what = f"item {name.decode()!r}"
            _require(
                slot < state.slot_end, f"{what} has a slot that was never given out",
                f"a slot below {state.slot_end}", slot,
            )  # fmt: skip
            named = rows.name(slot)
            _require(named == name, f"slot {slot} names another item", name, named)
            extras = transaction.get(number_key(slot), b"", db=environment.database("extras"))
            unpack_extras(bytes(extras))
            slots.append(slot)
            records.append(item_record(name, version, bytes(extras)))
            if len(records) == BATCH:
                content = add(content, sums())
                records = []
    content = add(content, sums())
    found = np.sort(np.array(slots, np.uint32))
    _require(
        len(np.unique(found)) == len(found), "two items share a slot", "distinct slots",
        f"{len(found) - len(np.unique(found))} shared",
    )  # fmt: skip
    _require(len(found) == state.live, "count of items in the state", len(found), state.live)
    _require(
        bool((content == state.content).all()), "content of the items",
        content_digest(index.family_digest, len(found), content),
        content_digest(index.family_digest, state.live, state.content),
    )  # fmt: skip
    return found, markers


def _check_bitmaps(
    index: Index, transaction: lmdb.Transaction, state: State, slots: NDArray[np.uint32]
) -> None:
    live, free, dying = (
        Bitmap(transaction, index.environment.database(name)) for name in ("live", "free", "dying")
    )
    on = live.test(slots)
    _require(
        bool(on.all()), "live bit of an item's slot", "on",
        f"off at slot {slots[np.argmin(on)]}" if len(on) else "",
    )  # fmt: skip
    pages = np.arange((state.slot_end + LIVE_PAGE_SLOTS - 1) // LIVE_PAGE_SLOTS)
    count = int(live.counts(pages, LIVE_PAGE_SLOTS).sum())
    _require(count == len(slots), "number of live bits", len(slots), count)
    count = int(dying.counts(pages, LIVE_PAGE_SLOTS).sum())
    _require(count == state.dying, "number of dying slots", state.dying, count)
    for page in pages.tolist():
        both = live.page(page) & free.page(page) | (live.page(page) | free.page(page)) & dying.page(
            page
        )
        _require(
            not both.any(), f"slots of page {page}", "each live, free or dying",
            f"{int(np.bitwise_count(both).sum())} more than one of these",
        )  # fmt: skip
    for rows, names in (("blocks", "names"), ("strips", "name_strips")):
        stored, named = (
            transaction.stat(index.environment.database(name))["entries"] for name in (rows, names)
        )
        _require(named == stored, f"number of {names.replace('_', ' ')}", stored, named)


def _check_tags(index: Index, transaction: lmdb.Transaction) -> None:
    database = index.environment.database("tags")
    count = 0
    with transaction.cursor(database) as cursor:
        for page in record_postings(transaction, index.environment):
            keys = [key for key, _ in page]
            stored = {bytes(key): bytes(value) for key, value in cursor.getmulti(keys)}
            for key, value in page:
                number = int.from_bytes(key[-4:], "big")
                _require(
                    stored.get(key) == value,
                    f"slots of tag {key[1:-4].decode()!r} in page {number}",
                    "those whose records carry it", "others" if key in stored else "none",
                )  # fmt: skip
            count += len(page)
    held = transaction.stat(database)["entries"]
    _require(count == held, "pages of slots by tag", count, held)


def _read_entries(index: Index, transaction: lmdb.Transaction, state: State) -> Entries:
    environment = index.environment
    parts = read_tail(transaction, environment.database("tail"), state.tail_entries)
    held: dict[int, Entries] = {}
    for segment in state.segments:
        part = read_segment(transaction, environment.database("segments"), segment)
        what = f"segment {segment.number}"
        _require(len(part) == segment.entries, f"entries of {what}", segment.entries, len(part))
        _require(
            bool((np.diff(part.buckets.astype(np.int64)) >= 0).all()), f"order of {what}",
            "by bucket", "out of order",
        )  # fmt: skip
        parts.append(part)
        held[segment.number] = part
    for merge in state.merges:
        if not merge.entries:
            continue
        written = read_unfinished(
            transaction, environment.database("segments"), index.rows.chunk_bytes, merge
        )
        sources = Entries.joined([held[number] for number in merge.sources])
        _require(
            bool(np.isin(_whole(written), _whole(sources)).all()),
            f"what is written of segment {merge.number}", "entries of its sources", "others",
        )  # fmt: skip
    if not parts:
        return Entries.none()
    return Entries.joined(parts)


def _whole(entries: Entries) -> NDArray[np.void]:
    """(n,) entries, each in one piece, to be compared."""
    columns = [
        np.ascontiguousarray(column).view(np.uint8).reshape(len(entries), -1)
        for column in (entries.buckets, entries.bits, entries.f, entries.a, entries.slots)
    ]
    whole = np.ascontiguousarray(np.hstack(columns))
    return whole.view(np.dtype((np.void, whole.shape[1]))).ravel()


def _check_rows(
    index: Index, reader: RowReader, slots: NDArray[np.uint32], entries: Entries
) -> None:
    """Compare rows with their codes, and live entries with what the family says."""
    held = entries.take(np.isin(entries.slots, slots))
    held = held.take(np.lexsort((held.buckets, held.slots)))
    expected = len(slots) * index.family.assignments
    _require(len(held) == expected, "number of live bucket entries", expected, len(held))
    per_slot = index.family.assignments
    for start in range(0, len(slots), BATCH):
        batch = slots[start : start + BATCH]
        rows = Rows.joined([reader.row(slot) for slot in batch.tolist()])
        prepared = prepare(index, np.ascontiguousarray(rows.vectors))
        for name in ("inverse_norm", "codes", "step"):
            wanted, found = getattr(prepared.rows, name), getattr(rows, name)
            same = (wanted == found).reshape(len(batch), -1).all(axis=1)
            _require(
                bool(same.all()), f"{name.replace('_', ' ')} of a row", "that of its vector",
                f"another at slot {batch[np.argmin(same)]}",
            )  # fmt: skip
        fresh = prepared.encoded.entries(batch)
        fresh = fresh.take(np.lexsort((fresh.buckets, fresh.slots)))
        found_part = held.take(slice(start * per_slot, (start + len(batch)) * per_slot))
        for name in ("slots", "buckets", "bits", "f", "a"):
            wanted, found = getattr(fresh, name), getattr(found_part, name)
            same = (wanted.view(np.uint8) == found.copy().view(np.uint8)).reshape(len(fresh), -1)
            rowwise = same.all(axis=1)
            _require(
                bool(rowwise.all()), f"{name} of a bucket entry", "what the family gives",
                f"another at slot {fresh.slots[np.argmin(rowwise)]}",
            )  # fmt: skip
