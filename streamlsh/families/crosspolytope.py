"""Cross-polytope hashing (Andoni, Indyk, Laarhoven, Razenshteyn, Schmidt 2015): cosine.

h(x) is the nearest signed axis of x after a random rotation: ``argmax |(R x)_j|`` with its sign.
Two unit vectors at distance t agree with probability
``exp(-(t^2 / (4 - t^2)) ln d - O(ln ln d))`` over d axes, the best exponent there is. R consists of
several fast rotations ``H D x``, random signs and a Hadamard transform, one below the other, so
that there may be more axes than coordinates. Each of the ``tables`` tables has ``axes`` of its own.
(Andoni et al. join several codes of fewer axes into a table's key. One code of many axes needed
two thirds of the candidates on sentence embeddings, and is probed without a heap.)

Probing: the axes nearest to the query, of all tables in one order; reach is a difference of
products with unit axes.

With a sample the vectors are centred on its mean first. Embeddings tend to crowd together, and
about their own centre they are told apart better. Nothing else is taken from the sample, and
without one nothing is, so the family cannot drift.

The first 256 coordinates of the first table's rotation give the sketch; every bucket's centre is
zero, so an item has one sketch, stored in each of its tables.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.errors import FamilyParameterError
from streamlsh.families.base import F32, Encoded, Family, empty_codes, single_sketch
from streamlsh.families.parameters import array_of, check_names, integer_in
from streamlsh.families.rotation import random_signs, rotated_width
from streamlsh.kernels.axes import encode_by_axes
from streamlsh.kernels.frozen import AXES

DEFAULT_AXES = 1024
DEFAULT_TABLES = 2
DEFAULT_PROBES = 500
SCAN_BELOW = 50_000
MAX_AXES = 1 << 14
MAX_TABLES = 64
WIDTH = 64 * WORDS


class CrossPolytope(Family):
    """See the module's docstring.

    Args:
        centre: (dim,) float32.
        signs: (tables, rotations, width) float32 diagonals of the rotations.
    """

    name: ClassVar[str] = "crosspolytope"
    needs_sample: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("cosine",)
    metric = "cosine"

    def __init__(self, centre: F32, signs: F32) -> None:
        self.dim = len(centre)
        self.tables = self.assignments = len(signs)
        self._axes = signs.shape[1] * signs.shape[2]
        self.buckets = self.most_probes = 2 * self._axes * self.tables
        self.default_probes = min(self.buckets, DEFAULT_PROBES)
        self.scan_below = SCAN_BELOW
        self._centre = centre
        self._signs = signs
        self.last_of_first = 2 * self._axes - 1
        self._freeze(AXES, centre, self.dim, signs, *signs.shape)

    @classmethod
    def fit(
        cls, dim: int, metric: str, seed: int, sample: F32 | None, parameters: dict[str, Any]
    ) -> Self:
        """Draw rotations; the sample gives the centre, without one it is zero."""
        check_names(cls.name, parameters, ("axes", "tables"))
        width = rotated_width(dim, WIDTH)
        axes = integer_in(
            cls.name, parameters, "axes", max(DEFAULT_AXES, width), width, max(MAX_AXES, width)
        )
        tables = integer_in(cls.name, parameters, "tables", DEFAULT_TABLES, 1, MAX_TABLES)
        if axes % width:
            raise FamilyParameterError(
                "axes of crosspolytope",
                expected=f"a multiple of {width} with vectors of length {dim}", received=axes,
            )  # fmt: skip
        centre = np.zeros(dim, np.float32)
        if sample is not None and len(sample):
            centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        shape = (tables, axes // width, width)
        return cls(centre, random_signs(np.random.default_rng(seed), shape, dim))

    @classmethod
    def restore(
        cls, dim: int, metric: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """The family from its stored parts."""
        width = rotated_width(dim, WIDTH)
        axes = integer_in(cls.name, parameters, "axes", 0, width, max(MAX_AXES, width))
        tables = integer_in(cls.name, parameters, "tables", 0, 1, MAX_TABLES)
        centre = array_of(cls.name, arrays, "centre", np.float32, (dim,))
        shape = (tables, axes // width, width)
        return cls(centre, array_of(cls.name, arrays, "signs", np.float32, shape))

    def parameters(self) -> dict[str, Any]:
        """Axes of a table, and tables."""
        return {"axes": self._axes, "tables": self.tables}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Centre and signs."""
        return {"centre": self._centre, "signs": self._signs}

    def encode(self, vectors: F32) -> Encoded:
        """A code a table, and one sketch."""
        buckets, bits, f, a = empty_codes(len(vectors), self.tables)
        encode_by_axes(
            np.ascontiguousarray(vectors, np.float32), self._centre, self._signs,
            buckets, bits, f, a,
        )  # fmt: skip
        return single_sketch(buckets, bits, f, a)
