"""Sign random projections (Charikar 2002): cosine, no sample, cannot drift.

h_j(x) = [<g_j, x> >= 0] for frozen directions g_j. Two vectors at angle t agree in one such bit
with probability 1 - t / pi. The key of a table joins ``bits`` of them (AND); there are
``tables`` tables (OR). The directions are the first columns of a random frame, orthogonal as
far as the dimension allows, which makes them slightly better than independent ones (Ji et al.
2012).

All columns of the frame also give the sketch: the signs of an item's projections are the hash
bits and the sketch at once. Every bucket's centre is zero, so an item has one sketch.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import FamilyParameterError
from streamlsh.families.base import F32, Encoded, Family, Probes, Query
from streamlsh.families.rotation import random_frame
from streamlsh.kernels.encode import encode_by_signs, query_planes
from streamlsh.kernels.probes import sign_probes
from streamlsh.kernels.tiles import project_rows, tile_columns

DEFAULT_BITS = 12
DEFAULT_TABLES = 3
DEFAULT_PROBES = 1536
SCAN_BELOW = 200_000
"""Without a centre, tables need so many candidates (a third of the items at recall 0.95 among
100,000 sentence embeddings) that a plain scan of the sketches is faster up to here."""
MAX_BITS = 16
MAX_BUCKETS = 1 << 20
MIN_WIDTH = 256
MAX_WIDTH = 512


class Hyperplane(Family):
    """See the module's docstring.

    Args:
        frame: (dim, width) float32, the directions as columns.
        bits: bits of a table's key.
        tables: number of tables.
    """

    name: ClassVar[str] = "hyperplane"
    needs_sample: ClassVar[bool] = False

    def __init__(self, frame: F32, bits: int, tables: int) -> None:
        self.dim, self._width = frame.shape
        self.tables = tables
        self.assignments = tables
        self.buckets = tables << bits
        self.words = self._width // 64
        self.default_probes = min(self.buckets, DEFAULT_PROBES)
        self.scan_below = SCAN_BELOW
        self._bits = bits
        self._frame = frame
        self._tiles = tile_columns(frame)
        self._offset = np.zeros(self._width, np.float32)

    @classmethod
    def fit(cls, dim: int, seed: int, sample: F32 | None, parameters: dict[str, Any]) -> Self:
        """Draw a frame; the sample is not looked at."""
        unknown = set(parameters) - {"bits", "tables"}
        if unknown:
            raise FamilyParameterError(
                "unknown parameter of hyperplane", expected="bits, tables",
                received=", ".join(sorted(unknown)),
            )  # fmt: skip
        width = min(max((dim + 63) // 64 * 64, MIN_WIDTH), MAX_WIDTH)
        bits = parameters.get("bits", DEFAULT_BITS)
        tables = parameters.get("tables", DEFAULT_TABLES)
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
            raise FamilyParameterError(
                "bits of hyperplane", expected=f"an integer from 1 to {MAX_BITS}", received=bits
            )
        most = min(width // bits, MAX_BUCKETS >> bits)
        if isinstance(tables, bool) or not isinstance(tables, int) or not 1 <= tables <= most:
            raise FamilyParameterError(
                "tables of hyperplane",
                expected=f"an integer from 1 to {most} with {bits} bits and {width} directions",
                received=tables,
            )
        frame = random_frame(np.random.default_rng(seed), dim, width)
        return cls(frame.astype(np.float32), bits, tables)

    @classmethod
    def restore(cls, dim: int, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """The family from its stored parts."""
        return cls(arrays["frame"], parameters["bits"], parameters["tables"])

    def parameters(self) -> dict[str, Any]:
        """Bits and tables."""
        return {"bits": self._bits, "tables": self.tables}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The frame."""
        return {"frame": self._frame}

    def encode(self, unit: F32) -> Encoded:
        """Keys from the first projections' signs, one sketch from all of them."""
        n = len(unit)
        unit = np.ascontiguousarray(unit, np.float32)  # kernels read rows by address
        buckets = np.empty((n, self.tables), np.uint32)
        bits = np.empty((n, self.words), np.uint64)
        f = np.empty(n, np.float32)
        a = np.empty(n, np.float32)
        encode_by_signs(unit, self._tiles, self._offset, self._bits, buckets, bits, f, a)
        shape = (n, self.tables)
        return Encoded(
            buckets,
            np.broadcast_to(bits[:, None], (*shape, self.words)),
            np.broadcast_to(f.astype(np.float16)[:, None], shape),
            np.broadcast_to(a.astype(np.float16)[:, None], shape),
        )

    def query(self, unit: F32) -> Query:
        """Project and quantise."""
        projected = np.empty((1, self._width), np.float32)
        project_rows(self._tiles, self._offset, unit[None], projected)
        planes = np.empty((4, self.words), np.uint64)
        delta = query_planes(projected[0], self._width, 1.0, planes)
        return Query(projected[0], planes, delta)

    def probe(self, query: Query, count: int) -> Probes:
        """One heap over all tables, by the squared margins of the flipped bits."""
        buckets = np.empty(min(count, self.buckets), np.uint32)
        held = sign_probes(query.projected, self.tables, self._bits, buckets)
        return Probes(buckets[:held], np.zeros(held, np.float32))

    def first_table(self, query: Query) -> Probes:
        """Every key of table 0."""
        count = 1 << self._bits
        return Probes(np.arange(count, dtype=np.uint32), np.zeros(count, np.float32))
