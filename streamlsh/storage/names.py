"""Names: the ids of the items at a run of slots, where kernels can read them.

The name block of N slots holds, after ``PAD`` bytes, N uint32 (where each id's bytes end), then
the ids' bytes in UTF-8, one after another. There is one for every slot block and every strip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import IN_PLACE, PAD, in_place


def pack_names(ids: list[bytes]) -> bytes:
    """The name block of as many slots as there are ids; empty for slots without an item."""
    ends = np.cumsum(np.fromiter(map(len, ids), np.uint32, len(ids)), dtype=np.uint32)
    return in_place(ends.tobytes() + b"".join(ids))


def least_bytes(capacity: int) -> int:
    """Size of a name block of so many slots that holds no id."""
    return max(PAD + 4 * capacity, IN_PLACE)


def unpack_names(value: memoryview, capacity: int) -> list[bytes]:
    """The ids of all slots of a stored block."""
    ends = np.frombuffer(value, np.uint32, capacity, PAD).tolist()
    text = bytes(value[PAD + 4 * capacity :])
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def name_at(value: memoryview, capacity: int, row: int) -> bytes:
    """One name of a stored block."""
    ends: NDArray[np.uint32] = np.frombuffer(value, np.uint32, capacity, PAD)
    text = PAD + 4 * capacity
    return bytes(value[text + (int(ends[row - 1]) if row else 0) : text + int(ends[row])])
