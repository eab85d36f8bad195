"""The content digest: what an index holds, whatever its history.

It is kept incrementally. Every item has a hash of four numbers, and a commit takes the hashes of
what it removes from a sum, lane by lane modulo 2^64, and adds those of what it puts there
(MSet-Add-Hash of Clarke et al., 2003); order does not matter, and nothing is read again.

What it is worth. The digest is there to notice accidents: an update that was lost or applied
twice, two copies that drifted apart. An item in which one 32-bit word changed always has another
hash. Two items of the same lengths that differ within one block have the same lane with a
chance of 2^-32 over the choice of keys, and all four with 2^-128, which is what UMAC proves of NH
with shifted keys (Black et al., 1999). The keys are constants here, so this speaks of contents
that were not chosen with the keys in mind. For items that differ in several blocks or in
their lengths, and for sums of many items, nothing is proved: there the lanes are taken for
random, as a bijection that mixes well follows every block.

What it is not worth. The keys are public and a sum of hashes can be solved for, so somebody who
makes items on purpose can make two contents with one digest. Whoever must be protected from that
needs the export and a cryptographic hash of it.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.uint64]
"""Four sums, each modulo 2^64."""

RECORD = struct.Struct("<IIq")
"""How an item's record begins: length of its key and of its extras in bytes, its version."""
WORD = 4
"""Bytes in a word of the hash."""
STORED = np.dtype("<u8")


def item_record(key: bytes, version: int, extras: bytes) -> bytes:
    """What an item is besides its vector, in one piece, zeros at the end up to whole words.

    The lengths come first: no record begins another, and no byte can change sides unnoticed.

    Args:
        key: the id, UTF-8.
        version: any int64.
        extras: tags and attributes as they are stored.
    """
    record = RECORD.pack(len(key), len(extras), version) + key + extras
    return record + bytes(-len(record) % WORD)


def no_content() -> Sums:
    """The sums of no items."""
    return np.zeros(4, np.uint64)


def sum_content(records: list[bytes], vectors: NDArray[np.int64], dim: int) -> Sums:
    """The sums of items.

    Args:
        records: what ``item_record`` made of each of n items.
        vectors: (n,) addresses of their vectors of float32, which must stay where they are
            meanwhile.
        dim: numbers in a vector.
    """
    # numba takes a while to import, and who only compares digests does not need it.
    from streamlsh.kernels.content import sum_items  # noqa: PLC0415

    assert len(records) == len(vectors), f"{len(records)} records of {len(vectors)} vectors"
    sums = no_content()
    ends = np.cumsum([len(record) for record in records], dtype=np.int64)
    sum_items(np.frombuffer(b"".join(records), np.uint8), ends, vectors, dim, sums)
    return sums


def add(sums: Sums, others: Sums) -> Sums:
    """The sums of what two sums are of, together."""
    return sums + others


def subtract(sums: Sums, others: Sums) -> Sums:
    """The sums of what remains without the items of ``others``."""
    return sums - others


def pack(sums: Sums) -> bytes:
    """Sums as stored: 32 bytes."""
    return sums.astype(STORED).tobytes()


def unpack(packed: bytes) -> Sums:
    """The reverse of ``pack``.

    Raises:
        ValueError: these are not 32 bytes.
    """
    if len(packed) != 4 * STORED.itemsize:
        raise ValueError(f"not the sums of a content: expected 32 bytes, received {len(packed)}")
    return np.frombuffer(packed, STORED).astype(np.uint64)


def content_digest(family_digest: bytes, items: int, sums: Sums) -> str:
    """SHA-256 over the family's digest, the number of items and their sums; hexadecimal."""
    return hashlib.sha256(family_digest + struct.pack("<Q", items) + pack(sums)).hexdigest()
