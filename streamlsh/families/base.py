"""What a hash family offers to the rest of the library.

A family maps vectors to buckets and sketches, and a query to the buckets worth probing. It sees
them as its metric wants them (``streamlsh.metrics``): at length one under cosine, as they are
under the others.
It is frozen: its arrays are drawn or trained once, stored with the index, and never change.
Bucket numbers run over all tables (table t's buckets follow those of table t - 1), so the
storage below knows nothing of tables.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS, Entries
from streamlsh.kernels.asking import probe_buckets
from streamlsh.kernels.frozen import pack

F32 = NDArray[np.float32]

MAX_HALF = 65504.0
"""Largest float16."""


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


class Probed(NamedTuple):
    """Queries, hashed: what the scan needs of them, and the buckets to look into.

    Attributes:
        planes: (n, 4, words) uint64 bit planes of the projected queries at 4 bits.
        deltas: (n,) float32 value of one step of the planes.
        buckets: (n, p) uint32, most promising first, distinct.
        bases: (n, p) float32: what all scores in a bucket begin with, such as the query's inner
            product with the bucket's centre.
        counts: (n,) int64: how many of a row's buckets count; -1 for all buckets up to the
            first of the row, which then share its base.
    """

    planes: NDArray[np.uint64]
    deltas: F32
    buckets: NDArray[np.uint32]
    bases: F32
    counts: NDArray[np.int64]

    @staticmethod
    def empty(queries: int, most: int) -> Probed:
        """Room for so many queries and at most so many buckets of each."""
        return Probed(
            np.empty((queries, 4, WORDS), np.uint64),
            np.empty(queries, np.float32),
            np.empty((queries, most), np.uint32),
            np.empty((queries, most), np.float32),
            np.empty(queries, np.int64),
        )

    def up_to(self, last: int) -> Probed:
        """The same queries, with all buckets up to ``last``, of base zero."""
        queries = len(self.planes)
        return Probed(
            self.planes,
            self.deltas,
            np.full((queries, 1), last, np.uint32),
            np.zeros((queries, 1), np.float32),
            np.full(queries, -1, np.int64),
        )


def empty_codes(items: int, tables: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64], F32, F32]:
    """Room for a bucket a table and one sketch an item: buckets, bits, f, a."""
    return (
        np.empty((items, tables), np.uint32),
        np.empty((items, WORDS), np.uint64),
        np.empty(items, np.float32),
        np.empty(items, np.float32),
    )


def single_sketch(buckets: NDArray[np.uint32], bits: NDArray[np.uint64], f: F32, a: F32) -> Encoded:
    """Items with one sketch each, stored in every one of their (n, tables) buckets."""
    shape = buckets.shape
    return Encoded(
        buckets,
        np.broadcast_to(bits[:, None], (*shape, WORDS)),
        np.broadcast_to(to_half(f)[:, None], shape),
        np.broadcast_to(to_half(a)[:, None], shape),
    )


def to_half(values: F32) -> NDArray[np.float16]:
    """Nearest float16 numbers, the largest there is for what lies beyond it."""
    return np.clip(values, -MAX_HALF, MAX_HALF).astype(np.float16)


class Family(ABC):
    """A frozen hash family.

    Class attributes:
        name: what users call it.
        needs_sample: whether ``fit`` wants a sample of the data.
        metrics: names of the metrics that it can be used with.

    Attributes:
        dim: length of the vectors.
        metric: how they are compared.
        tables: number of bucket tables.
        assignments: buckets an item goes into, over all tables.
        buckets: number of buckets, over all tables.
        most_probes: buckets a query may probe; who wants more takes ``first_table``.
        default_probes: buckets a query probes unless told otherwise.
        scan_below: up to so many items, a scan of all sketches is as fast as tables for the same
            recall, and misses less.
        frozen: what kernels need to know; see ``streamlsh.kernels.frozen``.
        last_of_first: the last bucket of the first table, if all of its buckets share one base, of
            zero; ``None`` where each has its own: there is then one table only.
        overflow: number of the bucket of items outside the range that the family was made for,
            which every query probes; ``None`` if there is no such bucket.
    """

    name: ClassVar[str]
    needs_sample: ClassVar[bool]
    metrics: ClassVar[tuple[str, ...]]
    dim: int
    metric: str
    tables: int
    assignments: int
    buckets: int
    most_probes: int
    default_probes: int
    scan_below: int
    frozen: NDArray[np.int64]
    last_of_first: int | None = None
    overflow: int | None = None

    @classmethod
    @abstractmethod
    def fit(
        cls, dim: int, metric: str, seed: int, sample: F32 | None, parameters: dict[str, Any]
    ) -> Self:
        """Draw or train a family.

        Args:
            dim: length of the vectors.
            metric: one of ``metrics``.
            seed: all randomness comes from it.
            sample: (n, dim) vectors like those to be indexed, as the metric wants them, or
                ``None``.
            parameters: what the user chose; unknown names and bad values are errors.

        Raises:
            SampleError: a sample is needed and missing, or cannot be used.
            FamilyParameterError: a parameter is unknown or out of range.
        """

    @classmethod
    @abstractmethod
    def restore(
        cls, dim: int, metric: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """The family from what ``parameters`` and ``arrays`` gave."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The scalars that describe the family, as msgpack can hold them."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The frozen arrays by name."""

    @abstractmethod
    def encode(self, vectors: F32) -> Encoded:
        """Buckets and sketches of (n, dim) vectors, the same bits alone or in any batch."""

    def _freeze(self, kind: int, *values: NDArray[Any] | float) -> None:
        """Tell kernels what they need to know; see ``streamlsh.kernels.frozen``."""
        self.frozen, self._kept = pack(kind, values)

    def probe(self, queries: F32, most: int, reach: float) -> Probed:
        """Hash queries and find the buckets most likely to hold their neighbours.

        Args:
            queries: (n, dim), contiguous.
            most: buckets of a query at most, over all tables, beside the one of overflow.
            reach: buckets are left out that are less promising than a query's best by more than
                this, in the family's own measure; infinity for no such limit.
        """
        probed = Probed.empty(len(queries), self.columns(most))
        probe_buckets(self.frozen, queries, reach, *probed)
        return probed

    def columns(self, most: int) -> int:
        """How many buckets a query probes at most, the one of overflow included."""
        return min(most, self.most_probes) + (self.overflow is not None)

    def ways(self) -> list[tuple[int, float]]:
        """Ways to probe worth measuring, from narrow to wide: arguments of ``probe``."""
        within = {min(1 << power, self.most_probes) for power in range(21)}
        return [(count, math.inf) for count in sorted(within)]

    def first_table(self, queries: F32) -> Probed:
        """Hash queries, with all buckets of the first table: they hold every item."""
        if self.last_of_first is None:
            return self.probe(queries, self.most_probes, math.inf)
        return self.probe(queries, 1, 0.0).up_to(self.last_of_first)
