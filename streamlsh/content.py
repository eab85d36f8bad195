"""The content digest: what an index holds, whatever its history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgpack

from streamlsh.hits import Item


def content_digest(family_digest: bytes, items: Iterable[Item]) -> str:
    """SHA-256 over the family's digest and every item, sorted by id; hexadecimal.

    An item counts with its id, version, tags, attributes (keys sorted at the top level, as
    they are stored) and the bytes of its vector.
    """
    digest = hashlib.sha256(family_digest)
    for item in items:
        digest.update(
            msgpack.packb(
                [item.id, item.version, list(item.tags), item.attributes, item.vector.tobytes()]
            )
        )
    return digest.hexdigest()
