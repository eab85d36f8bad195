"""An index as a plain dictionary: the ordering rule and the exact answers, written once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh import CommitResult, Delete, Hits, Item, Position, Upsert

TOLERANCE = 3e-6
"""Float32 sums of a few hundred products against float64."""


@dataclass
class Model:
    """What an index holds.

    Attributes:
        items: the live items.
        markers: versions of deleted ids.
        positions: the source positions.
        commit: number of the last commit.
    """

    items: dict[str, Item] = field(default_factory=dict)
    markers: dict[str, int] = field(default_factory=dict)
    positions: dict[tuple[str, int], Position] = field(default_factory=dict)
    commit: int = 0

    def copy(self) -> Model:
        return Model(dict(self.items), dict(self.markers), dict(self.positions), self.commit)

    def apply(
        self, updates: Iterable[Upsert | Delete], positions: Iterable[Position] = ()
    ) -> CommitResult:
        """Carry out one commit."""
        counts: Counter[str] = Counter()
        moves = {(p.stream, p.partition): p for p in positions}
        changed = any(self.positions.get(key) != move for key, move in moves.items())
        for update in updates:
            changed = True
            counts[self._apply_one(update)] += 1
        self.positions |= moves
        self.commit += changed
        return CommitResult(self.commit, **counts)

    def _apply_one(self, update: Upsert | Delete) -> str:
        before = self.items.get(update.id)
        known = before.version if before else self.markers.get(update.id)
        if update.version is not None and known is not None and update.version <= known:
            return "stale"
        version = known if update.version is None else update.version
        if isinstance(update, Delete):
            self.items.pop(update.id, None)
            if version is not None:
                self.markers[update.id] = version
            return "deleted" if before else "absent"
        after = Item(
            update.id,
            np.array(update.vector, np.float32),
            version,
            tuple(sorted(set(update.tags))),
            None if update.attributes is None else dict(update.attributes),
        )
        self.markers.pop(update.id, None)
        self.items[update.id] = after
        if before is None:
            return "inserted"
        return "unchanged" if same_item(before, after) else "replaced"

    def cosines(self, vector: NDArray[Any]) -> dict[str, float]:
        """The cosine of every item to a vector, in float64."""
        if not self.items:
            return {}
        rows = np.stack([item.vector for item in self.items.values()]).astype(np.float64)
        query = np.asarray(vector, np.float64)
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        return dict(zip(self.items, (rows @ query / norms).tolist(), strict=True))

    def check_hits(
        self, hits: Hits, vector: NDArray[Any], k: int, exclude: Iterable[str] = ()
    ) -> None:
        """What holds for every answer: true scores of live items, best first, ties by id."""
        cosines = self.cosines(vector)
        assert len(hits.ids) == len(hits.scores) <= k
        assert hits.scores.dtype == np.float32
        assert len(set(hits.ids)) == len(hits.ids), "an id twice"
        assert set(hits.ids) <= set(cosines) - set(exclude), "a dead, unknown or excluded id"
        for item_id, score in zip(hits.ids, hits.scores.tolist(), strict=True):
            assert abs(score - cosines[item_id]) <= TOLERANCE
        ranked = [(-score, name) for name, score in zip(hits.ids, hits.scores, strict=True)]
        assert ranked == sorted(ranked), "not best first with ties by id"
        assert hits.commit == self.commit
        assert dict(hits.positions) == self.positions

    def check_exact(
        self, hits: Hits, vector: NDArray[Any], k: int, exclude: Iterable[str] = ()
    ) -> None:
        """The same, and nothing that was left out is better than what is there."""
        self.check_hits(hits, vector, k, exclude)
        cosines = self.cosines(vector)
        left = set(cosines) - set(exclude) - set(hits.ids)
        assert len(hits.ids) == min(k, len(hits.ids) + len(left))
        if not hits.ids:
            return
        last = self.items[hits.ids[-1]]
        for name in left:
            assert cosines[name] <= hits.scores[-1] + TOLERANCE
            if self.items[name].vector.tobytes() == last.vector.tobytes():
                assert name > last.id, "of equal vectors the lower ids come first"


def same_item(one: Item, other: Item) -> bool:
    """Equal to the last bit of the vector."""
    return (
        one.id == other.id
        and one.vector.dtype == other.vector.dtype
        and one.vector.tobytes() == other.vector.tobytes()
        and one.version == other.version
        and one.tags == other.tags
        and one.attributes == other.attributes
    )


def by_utf8(items: Mapping[str, Item]) -> list[Item]:
    """Items in the order in which an index lists them."""
    return [items[name] for name in sorted(items, key=str.encode)]
