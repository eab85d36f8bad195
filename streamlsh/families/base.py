"""What a hash family offers to the rest of the library.

A family maps unit vectors to buckets and sketches, and a query to the buckets worth probing.
It is frozen: its arrays are drawn or trained once, stored with the index, and never change.
Bucket numbers run over all tables (table t's buckets follow those of table t - 1), so the
storage below knows nothing of tables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import Entries

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Where items go: one entry an item and assignment.

    Attributes:
        buckets: (n, assignments) uint32.
        bits: (n, assignments, words) uint64.
        f: (n, assignments) float16.
        a: (n, assignments) float16.
    """

    buckets: NDArray[np.uint32]
    bits: NDArray[np.uint64]
    f: NDArray[np.float16]
    a: NDArray[np.float16]

    def take(self, chosen: list[int]) -> Encoded:
        """The chosen items, in that order."""
        return Encoded(self.buckets[chosen], self.bits[chosen], self.f[chosen], self.a[chosen])

    @staticmethod
    def joined(parts: list[Encoded]) -> Encoded:
        """Several runs of items as one."""
        return Encoded(
            np.concatenate([part.buckets for part in parts]),
            np.concatenate([part.bits for part in parts]),
            np.concatenate([part.f for part in parts]),
            np.concatenate([part.a for part in parts]),
        )

    def entries(self, slots: NDArray[np.uint32]) -> Entries:
        """The entries of these items at their slots (n,), item after item."""
        assignments = self.buckets.shape[1]
        return Entries(
            self.buckets.reshape(-1),
            self.bits.reshape(-1, self.bits.shape[2]),
            self.f.reshape(-1),
            self.a.reshape(-1),
            np.repeat(slots, assignments),
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A query as the scan wants it.

    Attributes:
        projected: (width,) the query's projections, in full precision.
        planes: (4, words) uint64 bit planes of the projections at 4 bits.
        delta: value of one step of the planes.
    """

    projected: F32
    planes: NDArray[np.uint64]
    delta: float


@dataclass(frozen=True, slots=True)
class Probes:
    """Buckets to look into.

    Attributes:
        buckets: (p,) uint32, most promising first, distinct.
        bases: (p,) float32: the query's inner product with each bucket's centre.
    """

    buckets: NDArray[np.uint32]
    bases: F32


class Family(ABC):
    """A frozen hash family.

    Class attributes:
        name: what users call it.
        needs_sample: whether ``fit`` wants a sample of the data.

    Attributes:
        dim: length of the vectors.
        tables: number of bucket tables.
        assignments: buckets an item goes into, over all tables.
        buckets: number of buckets, over all tables.
        words: 64-bit words of a sketch.
        default_probes: buckets a query probes unless told otherwise.
        scan_below: up to so many items, a scan of all sketches is as fast as probing for the
            same recall, and misses less.
    """

    name: ClassVar[str]
    needs_sample: ClassVar[bool]
    dim: int
    tables: int
    assignments: int
    buckets: int
    words: int
    default_probes: int
    scan_below: int

    @classmethod
    @abstractmethod
    def fit(cls, dim: int, seed: int, sample: F32 | None, parameters: dict[str, Any]) -> Self:
        """Draw or train a family.

        Args:
            dim: length of the vectors.
            seed: all randomness comes from it.
            sample: (n, dim) unit vectors like those to be indexed, or ``None``.
            parameters: what the user chose; unknown names and bad values are errors.

        Raises:
            SampleError: a sample is needed and missing, or cannot be used.
            FamilyParameterError: a parameter is unknown or out of range.
        """

    @classmethod
    @abstractmethod
    def restore(cls, dim: int, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """The family from what ``parameters`` and ``arrays`` gave."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The scalars that describe the family, as msgpack can hold them."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The frozen arrays by name."""

    @abstractmethod
    def encode(self, unit: F32) -> Encoded:
        """Buckets and sketches of (n, dim) unit vectors, the same bits alone or in a batch."""

    @abstractmethod
    def query(self, unit: F32) -> Query:
        """Prepare one (dim,) unit vector for probing and scanning."""

    @abstractmethod
    def probe(self, query: Query, count: int) -> Probes:
        """The ``count`` buckets most likely to hold the query's neighbours, over all tables."""

    @abstractmethod
    def first_table(self, query: Query) -> Probes:
        """All buckets of the first table in order of their numbers: they hold every item."""
