"""Bucket entries, compared."""

from __future__ import annotations

import numpy as np

from streamlsh.buckets.layout import Entries


def by_slot(entries: Entries) -> Entries:
    """Entries by slot; of one slot by bucket."""
    return entries.take(np.lexsort((entries.bits[:, 0], entries.buckets, entries.slots)))


def same(one: Entries, other: Entries) -> bool:
    """Whether entries are the same bits, in the same order."""
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("buckets", "bits", "f", "a", "slots")
    )
