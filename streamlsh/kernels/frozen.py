"""One small array that tells kernels what a family froze, as ``where`` tells of a commit.

Its first place says which family it is; what the others mean is said beside each family's kernel.
Arrays stand there as their addresses, whole numbers as they are, and other numbers as the bits of
a float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

KIND = 0
CELLS, SIGNS, AXES, FLOORS = 1, 2, 3, 4
"""The kinds of families: by cells, by signs, by axes, by floors."""
BASIS_TILES, BASIS_UNITS, BASIS_EXCESS, OFFSET, WIDTH, DIM = range(1, 7)
"""Places of a projection in bytes to WIDTH coordinates, of vectors of length DIM: what cells and
signs begin with; see ``project_frozen``."""
OWN = 7
"""The first place of what only one of the two has."""


def pack(kind: int, values: Iterable[NDArray[Any] | int | float]) -> tuple[I64, list[Any]]:
    """The array, and what it holds the addresses of: to be kept as long as the array is."""
    kept: list[Any] = []
    places = [kind]
    for value in values:
        if isinstance(value, np.ndarray):
            kept.append(np.require(value, requirements="CA"))
            places.append(kept[-1].ctypes.data)
        elif isinstance(value, float):
            places.append(int(np.float64(value).view(np.int64)))
        else:
            places.append(value)
    return np.array(places, np.int64), kept
