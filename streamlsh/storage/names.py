"""Names: the ids of the items at a run of slots, where kernels can read them.

The name block of N slots holds, after ``PAD`` bytes, N uint32 (where each id's bytes end), then
the ids' bytes in UTF-8, one after another. There is one for every slot block and every strip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import PAD, in_place


@dataclass(frozen=True, slots=True)
class Names:
    """Ids of a run of slots.

    Attributes:
        ids: their bytes.
    """

    ids: list[bytes]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Names:
        """Those of ``start`` to ``stop``."""
        return Names(self.ids[start:stop])


@dataclass(frozen=True, slots=True)
class NameLayout:
    """How names are stored.

    Attributes:
        block_shift: log2 of the slots of a full block.
    """

    block_shift: int

    def joined(self, parts: list[Names]) -> Names:
        """Several runs of names as one."""
        return Names([item_id for part in parts for item_id in part.ids])

    def pack(self, names: Names, capacity: int) -> bytes:
        """A name block of ``capacity`` slots; those past ``len(names)`` have empty ids."""
        ends = np.zeros(capacity, np.uint32)
        ends[: len(names)] = np.cumsum([len(item_id) for item_id in names.ids])
        ends[len(names) :] = ends[len(names) - 1]
        return in_place(ends.tobytes() + b"".join(names.ids))

    def view(self, value: memoryview, capacity: int, count: int) -> Names:
        """The first ``count`` names of a stored block, copied."""
        ends = np.frombuffer(value, np.uint32, capacity, PAD)[:count].tolist()
        text = bytes(value[PAD + 4 * capacity :])
        return Names([text[a:b] for a, b in zip([0, *ends], ends, strict=False)])


def name_at(value: memoryview, capacity: int, row: int) -> bytes:
    """One name of a stored block."""
    ends: NDArray[np.uint32] = np.frombuffer(value, np.uint32, capacity, PAD)
    text = PAD + 4 * capacity
    return bytes(value[text + (int(ends[row - 1]) if row else 0) : text + int(ends[row])])
