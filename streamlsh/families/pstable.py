"""p-stable projections (Datar, Immorlica, Indyk, Mirrokni 2004): Euclidean, cannot drift.

h(v) = floor((a . v + b) / w), a ~ N(0, I), b ~ U[0, w). Two vectors at distance c agree with
probability 1 - 2 Phi(-w/c) - 2 / (sqrt(2 pi) w/c) (1 - exp(-(w/c)^2 / 2)). The key of a table
joins ``hashes`` of them (AND); there are ``tables`` tables (OR). Bucket numbers may be negative
and are only labels: ``bucket_number`` says how a key becomes the number of a bucket.

Given ``vectors`` of a trained model, b is 0 and nothing is drawn. With unit vectors and one hash
a table that is Spark's ``BucketedRandomProjectionLSH``: the same floor of the same quotient, in
float64. ``hash_values`` gives the integers themselves.

Probing: query-directed (Lv, Josephson, Wang, Charikar, Li 2007), by the squared ways to the
borders that are crossed, one heap over all tables; reach is the largest sum, in squared bucket
lengths.

w is ``bucket_length``; without it, twice the median distance of the sample's rows to their
nearest neighbour in it (among 2,000 of them), so that a query and its neighbours fall into one
bucket more often than not.

Sketch: signs of 256 coordinates after a random rotation (``kernels.hadamard``), of vectors that
are centred and scaled by the sample; without one the centre is zero and the unit of length w.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS
from streamlsh.errors import FamilyParameterError
from streamlsh.families.base import F32, Encoded, Family, empty_codes, single_sketch
from streamlsh.families.parameters import LARGEST, array_of, check_names, integer_in, number_in
from streamlsh.families.rotation import random_signs, rotated_width
from streamlsh.families.spread import centre_and_scale
from streamlsh.kernels.floors import encode_by_floors, hash_points
from streamlsh.kernels.frozen import FLOORS

DEFAULT_HASHES = 10
DEFAULT_TABLES = 4
DEFAULT_PROBES = 1024
SCAN_BELOW = 200_000
"""Tables need so many candidates that a plain scan of the sketches is faster up to here."""
MAX_HASHES = 30
MAX_TABLES = 64
MOST_PROBES = 1 << 16
NUMBER_BITS = 31
"""Bits of a bucket's number, over all tables."""
WIDTH = 64 * WORDS
LOOKED_AT = 2000
"""Rows of the sample whose nearest neighbours are looked for."""

F64 = NDArray[np.float64]


class PStable(Family):
    """See the module's docstring.

    Args:
        vectors: (tables * hashes, dim) float64, the vectors a, table after table.
        offsets: (tables * hashes,) float64, the numbers b.
        bucket_length: w.
        tables: number of tables.
        centre: (dim,) float32, of the sketches.
        scale: what centred vectors are multiplied by for the sketches.
        signs: (n,) float32 diagonal of the sketches' rotation.
    """

    name: ClassVar[str] = "pstable"
    needs_sample: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("euclidean",)
    metric = "euclidean"

    def __init__(
        self,
        vectors: F64,
        offsets: F64,
        bucket_length: float,
        tables: int,
        centre: F32,
        scale: float,
        signs: F32,
    ) -> None:
        self.dim = vectors.shape[1]
        self.tables = self.assignments = tables
        self.hashes = len(vectors) // tables
        self.bucket_length = bucket_length
        self._bits = NUMBER_BITS - (tables - 1).bit_length()
        self.buckets = tables << self._bits
        self.most_probes = min(tables * 3**self.hashes, MOST_PROBES)
        self.default_probes = min(self.most_probes, DEFAULT_PROBES)
        self.scan_below = SCAN_BELOW
        self._vectors = vectors
        self._columns = np.ascontiguousarray(vectors.T)
        self._offsets = offsets
        self._centre = centre
        self._scale = scale
        self._signs = signs
        self.last_of_first = (1 << self._bits) - 1
        self._freeze(
            FLOORS, self._columns, offsets, len(vectors), self.dim, float(bucket_length), tables,
            self._bits, centre, float(scale), signs, len(signs),
        )  # fmt: skip

    @classmethod
    def fit(
        cls, dim: int, metric: str, seed: int, sample: F32 | None, parameters: dict[str, Any]
    ) -> Self:
        """Draw vectors and offsets, or take the given ``vectors`` with offsets 0."""
        check_names(cls.name, parameters, ("bucket_length", "hashes", "tables", "vectors"))
        rng = np.random.default_rng(seed)
        given = parameters.get("vectors")
        hashes = integer_in(
            cls.name, parameters, "hashes", DEFAULT_HASHES if given is None else 1, 1, MAX_HASHES
        )
        if sample is not None and not len(sample):
            sample = None
        length = _bucket_length(parameters.get("bucket_length"), sample, rng)
        if given is None:
            tables = integer_in(cls.name, parameters, "tables", DEFAULT_TABLES, 1, MAX_TABLES)
            vectors = rng.standard_normal((tables * hashes, dim))
            offsets = rng.uniform(0.0, length, tables * hashes)
        else:
            vectors = _given_vectors(given, dim, hashes)
            tables = len(vectors) // hashes
            integer_in(cls.name, parameters, "tables", tables, tables, tables)
            offsets = np.zeros(len(vectors))
        centre, scale = np.zeros(dim, np.float32), 1.0 / length
        if sample is not None:
            centre, scale = centre_and_scale(sample)
        signs = random_signs(rng, (rotated_width(dim, WIDTH),), dim)
        return cls(vectors, offsets, length, tables, centre, scale, signs)

    @classmethod
    def restore(
        cls, dim: int, metric: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """The family from its stored parts."""
        tables = integer_in(cls.name, parameters, "tables", 0, 1, MAX_TABLES)
        hashes = integer_in(cls.name, parameters, "hashes", 0, 1, MAX_HASHES)
        rows = tables * hashes
        return cls(
            array_of(cls.name, arrays, "vectors", np.float64, (rows, dim)),
            array_of(cls.name, arrays, "offsets", np.float64, (rows,)),
            number_in(cls.name, parameters, "bucket_length", 1e-18, 1e18),
            tables,
            array_of(cls.name, arrays, "centre", np.float32, (dim,)),
            number_in(cls.name, parameters, "scale", 0.0, LARGEST),
            array_of(cls.name, arrays, "signs", np.float32, (rotated_width(dim, WIDTH),)),
        )

    def parameters(self) -> dict[str, Any]:
        """w, K, L, and the scale of the sketches."""
        return {
            "bucket_length": self.bucket_length,
            "hashes": self.hashes,
            "tables": self.tables,
            "scale": self._scale,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Vectors and offsets; centre and signs of the sketches."""
        return {
            "vectors": self._vectors,
            "offsets": self._offsets,
            "centre": self._centre,
            "signs": self._signs,
        }

    def hash_values(self, vectors: F32) -> NDArray[np.int64]:
        """The integers h of (n, dim) float32 vectors, (n, tables, hashes)."""
        rows = np.ascontiguousarray(vectors, np.float32)
        out = np.empty((len(rows), len(self._vectors)), np.int64)
        hash_points(rows, self._columns, self._offsets, self.bucket_length, out)
        return out.reshape(len(rows), self.tables, self.hashes)

    def encode(self, vectors: F32) -> Encoded:
        """A bucket a table, and one sketch."""
        buckets, bits, f, a = empty_codes(len(vectors), self.tables)
        encode_by_floors(
            np.ascontiguousarray(vectors, np.float32), self._columns, self._offsets,
            self.bucket_length, self._bits, self._centre, self._scale, self._signs, buckets,
            bits, f, a,
        )  # fmt: skip
        return single_sketch(buckets, bits, f, a)


def _bucket_length(wanted: object, sample: F32 | None, rng: np.random.Generator) -> float:
    """w: as wanted, or by the sample's nearest neighbours."""
    if wanted is not None:
        number = isinstance(wanted, int | float | np.floating) and not isinstance(wanted, bool)
        if not number or not 1e-18 <= wanted <= 1e18:  # type: ignore[operator]
            raise FamilyParameterError(
                "bucket_length of pstable", expected="a number from 1e-18 to 1e18",
                received=wanted,
            )  # fmt: skip
        return float(wanted)  # type: ignore[arg-type]
    if sample is None:
        raise FamilyParameterError(
            "pstable has no bucket_length",
            expected="bucket_length=, in the vectors' own unit (streamlsh tune finds one), or "
            "sample= to choose it from",
            received="neither",
        )  # fmt: skip
    chosen = np.sort(rng.choice(len(sample), min(len(sample), LOOKED_AT), replace=False))
    rows = sample[chosen].astype(np.float64)
    rows -= rows.mean(axis=0)
    squares = np.einsum("ij,ij->i", rows, rows)
    distances = squares[:, None] + squares - 2.0 * (rows @ rows.T)
    np.fill_diagonal(distances, np.inf)
    # What is below the rounding of these sums is a copy, not a neighbour.
    distances[distances <= 1e-9 * squares.max()] = np.inf
    nearest = distances.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    if len(nearest):
        return float(min(max(2.0 * np.sqrt(np.median(nearest)), 1e-18), 1e18))
    return float(np.sqrt(squares.max())) or 1.0


def _given_vectors(given: object, dim: int, hashes: int) -> F64:
    expected = f"(tables * {hashes}, {dim}) finite numbers, 1 to {MAX_TABLES} tables"
    try:
        vectors = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise FamilyParameterError(
            "vectors of pstable", expected=expected, received=str(error)
        ) from error
    usable = vectors.ndim == 2 and vectors.shape[1] == dim and len(vectors) % hashes == 0
    if not usable or not 1 <= len(vectors) // hashes <= MAX_TABLES:
        raise FamilyParameterError(
            "vectors of pstable", expected=expected, received=f"shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all() or np.abs(vectors).max() > 1e18:
        raise FamilyParameterError(
            "vectors of pstable", expected=expected, received="numbers that are not"
        )
    return vectors
