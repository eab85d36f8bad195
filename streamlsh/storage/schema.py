"""The whole key schema, in one place.

An index is a directory with LMDB's ``data.mdb`` and ``lock.mdb``, the writer's own ``writer.lock``
and a folder ``open/`` with a file for each process that has it open. Inside the environment stand
these named databases; all integers in keys are big-endian, so that keys sort by number, and all
numbers in values little-endian.

===========  ==============================  ==================================================
database     key                             value
===========  ==============================  ==================================================
meta         ``format``                      u32, the format version
meta         ``config``                      msgpack of the ``IndexConfig``
meta         ``digest``                      SHA-256 of configuration and family
meta         ``state``                       sealed msgpack of the ``State`` of the last commit
meta         ``stamp``                       u64, the LMDB transaction that committed last
meta         ``times``                       rows of u64, f64: LMDB transactions and when they
                                             were committed, see ``storage.times``
meta         ``calibration``                 sealed msgpack of the ``Calibration``, if there is one
meta         ``held out``                    array (n, dim): rows of the sample that the family
                                             was not trained on, to calibrate with
family       array name                      dtype, shape and bytes of one frozen array
positions    u32 partition, stream (UTF-8)   sealed msgpack [offset, identity, epoch?]
changes      write u64                       sealed: blocks and pages of ``live`` that a
                                             transaction wrote
items        id (UTF-8)                      sealed: slot u32, version i64; deleted: also commit
                                             i64
expiry       commit u64                      sealed msgpack [time, ids deleted with a version]
extras       slot u32                        msgpack [tags, attributes] of an item that has any
blocks       block u32                       slot block: the rows of ``rows_per_block`` slots
strips       strip u32                       slot block of ``STRIP_ROWS`` slots of the open block,
                                             in place of what ``blocks`` has of them
names        block u32                       name block: the ids of the items at a block's slots
name_strips  strip u32                       name block of ``STRIP_ROWS`` slots likewise
live         page u32                        bitmap of 2^14 slots, bit on = current
free         page u32                        likewise, on = may be given out
dying        page u32                        likewise, on = died since the last purge began
seen         page u32                        likewise, on = named since the sweep began
tail         group u32                       entries without order, then their buckets u32
segments     segment u32, part u32           part 0: codes u32, starts u32; then entry blocks;
                                             of one being merged, ``PIECES`` on: its
                                             directory, sealed
tags         tag length u8, tag, page u32    the slots of that page (as in ``live``) whose extras
                                             have the tag: sorted offsets u16, or 2,048 bytes
                                             of bitmap where those are no shorter
===========  ==============================  ==================================================

What is *sealed* ends with a checksum of key and record; see ``storage.sealing``.

``blocks``, ``strips``, ``names``, ``name_strips``, ``live``, ``tail`` and ``segments`` are read
by kernels in place. Their
values begin with ``PAD`` unused bytes: LMDB puts a 16-byte header before a large value, and 48
more bring what follows to the start of a cache line. They are never shorter than ``IN_PLACE``
bytes: LMDB would keep a shorter value inside a B-tree page, which moves whenever a neighbour
changes, while a larger one has pages of its own and stays where it is as long as it lives.
"""

from __future__ import annotations

import struct

FORMAT_VERSION = 3
"""Raised whenever the meaning of a stored byte changes; see ``storage.opening``."""

DATA = "data.mdb"
"""The file that holds everything."""

DATABASES = (
    "meta", "family", "positions", "changes", "items", "expiry", "extras", "blocks", "strips",
    "names", "name_strips", "live", "free", "dying", "seen", "tail", "segments", "tags",
)  # fmt: skip

PAD = 48
"""Bytes before the content of a value that kernels read, for alignment to cache lines."""

IN_PLACE = 2048
"""Least size of a value that is read in place: above LMDB's limit for values inside a page."""

FORMAT_KEY = b"format"
CONFIG_KEY = b"config"
DIGEST_KEY = b"digest"
STATE_KEY = b"state"
CALIBRATION_KEY = b"calibration"
HELD_OUT_KEY = b"held out"
STAMP_KEY = b"stamp"
TIMES_KEY = b"times"

STAMPED_SINCE = 3
"""The first format whose every commit carries a stamp."""

FORMAT = struct.Struct("<I")
STAMP = struct.Struct("<Q")
ITEM = struct.Struct("<Iq")
MARKER = struct.Struct("<Iqq")

NO_SLOT = 0xFFFFFFFF
"""In ``items``: the id is deleted, and only its marker is kept."""
NO_VERSION = -(2**63)
"""In ``items``: no update of this id ever carried a version."""

LIVE_PAGE_SLOTS = 1 << 14
"""Slots of one page of the live bitmap: ``IN_PLACE`` bytes of bits."""

_NUMBER = struct.Struct(">I")
_PAIR = struct.Struct(">II")
_COMMIT = struct.Struct(">Q")


def in_place(content: bytes) -> bytes:
    """A value for kernels to read: padded in front for alignment, behind to the least size."""
    return (bytes(PAD) + content).ljust(IN_PLACE, b"\0")


def number_key(number: int) -> bytes:
    """Key of a slot, block, strip, page or group."""
    return _NUMBER.pack(number)


def commit_key(commit: int) -> bytes:
    """Key of what is kept for one commit, or one write."""
    return _COMMIT.pack(commit)


def segment_key(segment: int, part: int) -> bytes:
    """Key of one part of a segment."""
    return _PAIR.pack(segment, part)


def tag_prefix(tag: bytes) -> bytes:
    """What the keys of a tag's postings begin with; ``number_key`` of the page follows."""
    return bytes((len(tag),)) + tag


def position_key(stream: str, partition: int) -> bytes:
    """Key of a source position."""
    return _NUMBER.pack(partition) + stream.encode()


def parse_position_key(key: bytes) -> tuple[str, int]:
    """The (stream, partition) of a position's key."""
    return key[4:].decode(), _NUMBER.unpack_from(key)[0]
