"""The limit on map use: upserts are refused while there is still room for deletes.

A full map stops every commit, also those that would give space back. So a writer takes no upserts
once a share of the map is in use. What counts as in use is what neither the newest commit nor an
open snapshot can spare: pages that were freed and can be used again do not count.
"""

from __future__ import annotations

from streamlsh.errors import MapLimitError
from streamlsh.readers import describe_pin, list_readers
from streamlsh.storage.environment import Environment
from streamlsh.storage.pages import PAGE_BYTES
from streamlsh.storage.soundness import pinned_pages
from streamlsh.storage.walking import Walk


def check_limit(environment: Environment, share: float) -> None:
    """Raise ``MapLimitError`` if more than a share of the map is in use.

    As long as the file itself is below the limit that is two calls of LMDB. Above it the free list
    is counted until there is enough.

    Args:
        environment: of the index.
        share: the limit, above 0 and up to 1.

    Raises:
        MapLimitError: naming the snapshots that keep space from being used again.
        CorruptIndexError: the free list is damaged.
    """
    file_bytes, reserved = environment.map_used()
    limit = int(share * reserved)
    if file_bytes <= limit:
        return
    environment.clear_dead_readers()
    reusable, newest = _reusable_bytes(environment, file_bytes - limit)
    used = file_bytes - reusable
    if used <= limit:
        return
    readers = [r for r in list_readers(environment) if 0 <= r.transaction < newest]
    old: dict[int, str] = {}
    for reader in sorted(readers, key=lambda reader: reader.transaction):
        old.setdefault(reader.pid, describe_pin(reader))
    keeping = f", or end the readers of old snapshots: {'; '.join(old.values())}" if old else ""
    raise MapLimitError(
        f"{used:,} of the {reserved:,} bytes of the memory map of {environment.path} are in use, "
        f"and upserts stop above {limit:,} (map_limit {share:.4g}); the last commit stands. Reopen "
        "the writer with a larger map_size or map_limit, or delete items, which goes on"
        f"{keeping}",
        used=used, limit=limit,
    )  # fmt: skip


def _reusable_bytes(environment: Environment, enough: int) -> tuple[int, int]:
    """Bytes of the file that commits can use again, and the newest transaction.

    LMDB uses again what was freed before the oldest transaction that a reader pins. The newest
    commit's own free pages count, too, if nobody pins an older one: only the next commit cannot use
    them yet, and without them a writer that was stopped would never go on after a delete.

    Args:
        environment: of the index.
        enough: bytes at which counting may end.
    """
    pinned = [row["transaction"] for row in environment.readers() if row["transaction"] >= 0]
    with (
        environment.read(),
        pinned_pages(environment.path, environment.handle) as (pages, meta, _),
    ):
        newest = meta.transaction
        oldest = min(pinned, default=newest)
        reusable = 0
        for count in Walk(pages, meta, deep=False).freed_pages(
            oldest if oldest < newest else newest + 1
        ):
            reusable += PAGE_BYTES * count
            if reusable >= enough:
                break
        return reusable, newest
