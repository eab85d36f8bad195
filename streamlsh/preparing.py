"""Preparing rows: all that is computed of a vector before it can be stored.

It depends on the vector and the frozen family alone, so it can run before the commit, in a
thread beside whatever the caller does next; the kernels do not hold the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.base import Encoded
from streamlsh.kernels.encode import nibble_rows, normalize_rows
from streamlsh.metrics import hashed_rows
from streamlsh.staging import StagedUpdate
from streamlsh.storage.opening import Index
from streamlsh.storage.rows import Rows
from streamlsh.updates import Position


@dataclass(frozen=True, slots=True)
class Prepared:
    """Vectors, ready to be stored.

    Attributes:
        rows: what a slot block keeps of them.
        encoded: their buckets and sketches.
    """

    rows: Rows
    encoded: Encoded

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: list[int]) -> Prepared:
        """The chosen rows, in that order."""
        if chosen == list(range(len(self))):
            return self
        return Prepared(self.rows.take(chosen), self.encoded.take(chosen))

    @staticmethod
    def joined(parts: list[Prepared]) -> Prepared:
        """Several runs of rows as one."""
        if len(parts) == 1:
            return parts[0]
        return Prepared(
            Rows.joined([part.rows for part in parts]),
            Encoded.joined([part.encoded for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedUpdates:
    """Updates that are checked, and hashed by and by: what ``Writer.prepare`` gives.

    Attributes:
        updates: one by one, in order.
        prepared: their vectors, once they are hashed.
    """

    updates: list[StagedUpdate]
    prepared: Future[Prepared]

    def __len__(self) -> int:
        return len(self.updates)

    def wait(self) -> None:
        """Return when everything is hashed."""
        self.prepared.result()


def prepare(index: Index, vectors: NDArray[np.float32]) -> Prepared:
    """Normalise, quantise and hash (n, dim) vectors; a row's result does not depend on others."""
    count = len(vectors)
    unit = np.empty_like(vectors)
    inverse_norm = np.empty(count, np.float32)
    normalize_rows(vectors, unit, inverse_norm)
    codes = np.empty((count, index.rows.code_width), np.uint8)
    step = np.empty(count, np.float32)
    nibble_rows(unit, codes, step)
    rows = Rows(vectors, codes, step, inverse_norm)
    return Prepared(rows, index.family.encode(hashed_rows(index.config.metric, vectors, unit)))


def join_updates(index: Index, parts: list[PreparedUpdates]) -> tuple[list[StagedUpdate], Prepared]:
    """The parts' updates as one list, and the vectors that their rows count."""
    updates: list[StagedUpdate] = []
    vectors: list[Prepared] = []
    rows = 0
    for part in parts:
        updates += (
            [u if u.row is None else u._replace(row=u.row + rows) for u in part.updates]
            if rows
            else part.updates
        )
        prepared = part.prepared.result()
        if len(prepared):
            vectors.append(prepared)
            rows += len(prepared)
    if not vectors:
        vectors = [prepare(index, np.zeros((0, index.config.dim), np.float32))]
    return updates, Prepared.joined(vectors)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a commit is to do.

    Attributes:
        updates: staged updates in order.
        staged: the staged vectors they refer to.
        believed: the positions that the writer last saw.
        moves: the positions that the batch ends at.
        seen: ids that a sweep is to spare.
        caught_up: when the index was caught up, unix seconds; ``None`` to leave that.
        ends_sweep: whether this commit removes ghosts, without a marker that remembers their
            version, and ends the sweep: the source may name them again in any version.
        forgets: positions to be removed.
    """

    updates: list[StagedUpdate]
    staged: Prepared
    believed: dict[tuple[str, int], Position] = field(default_factory=dict)
    moves: dict[tuple[str, int], Position] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    caught_up: float | None = None
    ends_sweep: bool = False
    forgets: AbstractSet[tuple[str, int]] = frozenset()
