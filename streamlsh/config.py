"""What an index is configured with, and the limits that hold for what goes into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamlsh.errors import DimensionError, InvalidInputError, UnknownMetricError

MAX_DIM = 8192
"""Largest dimension of a vector."""
MAX_ID_BYTES = 511
"""Longest item id in bytes of UTF-8: LMDB's own limit of a key."""
MIN_VERSION = -(2**63) + 1
"""Smallest version; the one below it means "no version" in the file."""
MAX_VERSION = 2**63 - 1
MIN_LENGTH = 1e-18
"""Shortest vector with a direction that float32 arithmetic can be trusted with."""
MAX_LENGTH = 1e18
MAX_TAGS = 64
MAX_TAG_BYTES = 128
MAX_FILTER_ELEMENTS = 64
"""Most elements of a filter by tags."""
MAX_FILTER_ALTERNATIVES = 64
"""Most alternative tags of one element of a filter."""
MAX_ATTRIBUTE_BYTES = 64 * 1024
"""Largest size of an item's attributes once packed with msgpack."""
MAX_ATTRIBUTE_DEPTH = 32
"""Deepest nesting of an item's attributes."""
MAX_K = 10_000
"""Most neighbours one query may ask for."""
MAX_SLOTS = 2**32 - 1
"""Slot numbers are 32 bits wide."""
DEFAULT_MAP_SIZE = 1 << 38
"""Address space reserved for an index, 256 GiB; it costs nothing until it is used."""
MAX_MAP_SIZE = 1 << 47
"""What an address can reach at most."""
DEFAULT_MAP_LIMIT = 0.9
"""Share of the map above which a writer takes no upserts."""
MAX_SEED = 2**63 - 1
DEFAULT_DELETE_RETENTION = 7 * 86_400.0
"""Seconds for which the version of a deleted id is remembered."""

METRICS = ("cosine", "inner_product", "euclidean")
"""Metrics an index can be created with, by the numbers that ``kernels.where`` gives them."""


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """An index's fixed properties, stored with it and covered by its digest.

    Attributes:
        dim: length of every vector.
        metric: how vectors are compared.
        family: name of the hash family.
        parameters: the family's own scalars, as msgpack can hold them.
        seed: what the family's random numbers were drawn from.
        delete_retention: seconds for which the version of a deleted id is remembered, so that
            an older upsert that comes late is known to be stale.
        block_shift: log2 of the rows of a slot block.
    """

    dim: int
    metric: str
    family: str
    parameters: dict[str, Any]
    seed: int
    delete_retention: float
    block_shift: int


def check_dim(dim: object) -> None:
    """Raise ``DimensionError`` unless an index can have this dimension."""
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
        raise DimensionError(
            "not a usable dimension", expected=f"an integer from 1 to {MAX_DIM}", received=dim
        )


def check_metric(metric: str) -> None:
    """Raise ``UnknownMetricError`` unless an index can have this metric."""
    if metric not in METRICS:
        raise UnknownMetricError(
            "unknown metric", expected=" or ".join(repr(name) for name in METRICS),
            received=repr(metric),
        )  # fmt: skip


def check_seed(seed: int) -> None:
    """Raise ``InvalidInputError`` unless random numbers can be drawn from this seed."""
    _check_integer("seed", seed, 0, MAX_SEED)


def check_map_size(map_size: int) -> None:
    """Raise ``InvalidInputError`` unless an index can be given so many bytes."""
    _check_integer("map_size", map_size, 1, MAX_MAP_SIZE)


def check_map_limit(share: object) -> None:
    """Raise ``InvalidInputError`` unless a writer can be stopped at this share of the map."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InvalidInputError(
            "not a usable map_limit", expected="a share of the map, above 0 and up to 1",
            received=repr(share),
        )  # fmt: skip


def check_delete_retention(seconds: object) -> None:
    """Raise ``InvalidInputError`` unless delete markers can be kept for so long."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise InvalidInputError(
            "not a usable delete_retention", expected="a number of seconds, at least 0",
            received=repr(seconds),
        )  # fmt: skip


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInputError(
            f"not a usable {name}", expected=f"an integer from {low} to {high}",
            received=repr(value),
        )  # fmt: skip
