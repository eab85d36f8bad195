"""Sign random projections (Charikar 2002): cosine, no sample, cannot drift.

h_j(x) = [<g_j, x> >= 0] for frozen directions g_j. Two vectors at angle t agree in one such bit
with probability 1 - t / pi. The key of a table joins ``bits`` of them (AND); there are
``tables`` tables (OR). The directions are the first columns of a random frame, orthogonal as
far as the dimension allows, which makes them slightly better than independent ones (Ji et al.
2012).

Probing: one heap over all tables, by the squared margins of the flipped bits.

All columns of the frame also give the sketch: the signs of an item's projections are the hash
bits and the sketch at once. Every bucket's centre is zero, so an item has one sketch.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.families.base import F32, Encoded, Family, empty_codes, single_sketch
from streamlsh.families.parameters import array_of, check_names, integer_in
from streamlsh.families.rotation import random_frame
from streamlsh.kernels.encode import encode_by_signs
from streamlsh.kernels.frozen import SIGNS
from streamlsh.kernels.tiles import quantise_points, tile_columns, tile_points

DEFAULT_BITS = 12
DEFAULT_TABLES = 3
DEFAULT_PROBES = 1536
SCAN_BELOW = 200_000
"""Without a centre, tables need so many candidates (a third of the items at recall 0.95 among
100,000 sentence embeddings) that a plain scan of the sketches is faster up to here."""
MAX_BITS = 16
MAX_BUCKETS = 1 << 20
WIDTH = 64 * WORDS


class Hyperplane(Family):
    """See the module's docstring.

    Args:
        frame: (dim, WIDTH) float32, the directions as columns.
        bits: bits of a table's key.
        tables: number of tables.
    """

    name: ClassVar[str] = "hyperplane"
    needs_sample: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("cosine",)
    metric = "cosine"

    def __init__(self, frame: F32, bits: int, tables: int) -> None:
        self.dim = len(frame)
        self.tables = tables
        self.assignments = tables
        self.buckets = tables << bits
        self.most_probes = self.buckets
        self.default_probes = min(self.buckets, DEFAULT_PROBES)
        self.scan_below = SCAN_BELOW
        self._bits = bits
        self._frame = frame
        self._tiles = tile_columns(frame)
        self._offset = np.zeros(WIDTH, np.float32)
        columns, units, excess = quantise_points(np.ascontiguousarray(frame.T))
        self.last_of_first = (1 << self._bits) - 1
        self._freeze(
            SIGNS, tile_points(columns), units, excess, self._offset, WIDTH, self.dim, tables, bits
        )

    @classmethod
    def fit(
        cls, dim: int, metric: str, seed: int, sample: F32 | None, parameters: dict[str, Any]
    ) -> Self:
        """Draw a frame; the sample is not looked at."""
        check_names(cls.name, parameters, ("bits", "tables"))
        bits = integer_in(cls.name, parameters, "bits", DEFAULT_BITS, 1, MAX_BITS)
        most = min(WIDTH // bits, MAX_BUCKETS >> bits)
        tables = integer_in(cls.name, parameters, "tables", DEFAULT_TABLES, 1, most)
        frame = random_frame(np.random.default_rng(seed), dim, WIDTH)
        return cls(frame.astype(np.float32), bits, tables)

    @classmethod
    def restore(
        cls, dim: int, metric: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """The family from its stored parts."""
        bits = integer_in(cls.name, parameters, "bits", 0, 1, MAX_BITS)
        tables = integer_in(cls.name, parameters, "tables", 0, 1, WIDTH // bits)
        frame = array_of(cls.name, arrays, "frame", np.float32, (dim, WIDTH))
        return cls(frame, bits, tables)

    def parameters(self) -> dict[str, Any]:
        """Bits and tables."""
        return {"bits": self._bits, "tables": self.tables}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The frame."""
        return {"frame": self._frame}

    def encode(self, vectors: F32) -> Encoded:
        """Keys from the first projections' signs, one sketch from all of them."""
        unit = np.ascontiguousarray(vectors, np.float32)  # kernels read rows by address
        buckets, bits, f, a = empty_codes(len(vectors), self.tables)
        encode_by_signs(unit, self._tiles, self._offset, self._bits, buckets, bits, f, a)
        return single_sketch(buckets, bits, f, a)
