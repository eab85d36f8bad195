"""The checksum of small records: the CRC-32 of a record and its key, as its last four bytes.

A damaged record often is another sound one: a version that is larger, an offset further on. Large
values have none: what they hold is derived from vectors, and vectors are in the content digest.
"""

from __future__ import annotations

import zlib

Buffer = bytes | memoryview

_BYTES = 4
_RESIDUE = 0x2144DF1C
"""The CRC-32 of anything that its own CRC-32 follows, least byte first."""


def seal(key: bytes, record: bytes) -> bytes:
    """A record as it is stored at a key."""
    return record + zlib.crc32(record, zlib.crc32(key)).to_bytes(_BYTES, "little")


def check_seal(key: Buffer, value: Buffer) -> None:
    """Check a record as it is stored at a key.

    Raises:
        ValueError: its checksum is another.
    """
    if zlib.crc32(value, zlib.crc32(key)) != _RESIDUE:
        raise ValueError("its checksum is that of another record")


def unseal(key: Buffer, value: Buffer) -> Buffer:
    """The record that was stored at a key.

    Raises:
        ValueError: its checksum is another.
    """
    check_seal(key, value)
    return value[:-_BYTES]
