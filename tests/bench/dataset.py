"""The vectors: sets of the user's or the shipped sample; items, and queries never indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamlsh.datasets import glosses, load_folder
from tests.bench.peers.ours import item_ids

HELD_OUT = 2_000
FEWEST_ITEMS = 1_000
PREFERRED = "glosses"
"""The main set, if it is there: figures that are not about recall need one set only."""
CODES = "-codes.npy"
SEED = 7

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Unit vectors, split once and for all.

    Attributes:
        name: the set's.
        is_sample: whether they are the shipped sample.
        is_union: whether it is several sets together.
        ids: one an item.
        items: float32 (n, dim), what is indexed.
        choosing: float32 (q, dim) queries that parameters are chosen with.
        scored: float32 (q, dim) queries that speed and recall are reported for.
    """

    name: str
    is_sample: bool
    is_union: bool
    ids: list[str]
    items: F32
    choosing: F32
    scored: F32

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.items.shape[1])

    def __len__(self) -> int:
        return len(self.items)

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.name}: {len(self):,} items of {self.dim} dimensions, "
            f"{len(self.choosing):,} + {len(self.scored):,} queries held out"
        )

    def head(self, count: int) -> Dataset:
        """The first items with the same queries."""
        return replace(self, ids=self.ids[:count], items=self.items[:count])


def load_sets(folder: Path | None, names: Sequence[str] | None, items: int | None) -> list[Dataset]:
    """Read sets and hold out the last rows of each as queries: 2,000, or a tenth of a small set.

    Args:
        folder: holds ``NAME-codes.npy`` and ``NAME-scales.npy``; ``None`` for the sample.
        names: which sets; ``None`` for every set of the folder, and all of them together.
        items: how many items of a set to index, at most; ``None`` for all.

    Returns:
        The main set first, several sets together last.

    Raises:
        FileNotFoundError, ValueError: the folder holds no such set, or too small a one.
    """
    if folder is None:
        return [_split("shipped sample of glosses", glosses().vectors, items, True)]
    found = sorted(file.name.removesuffix(CODES) for file in folder.glob("*" + CODES))
    chosen = list(names or found)
    if not chosen:
        raise ValueError(f"expected NAME{CODES} in the folder, received none")
    chosen.sort(key=lambda name: name != PREFERRED)
    sets = [_split(name, load_folder(folder, name), items, False) for name in chosen]
    if names is None and len(sets) > 1 and len({one.dim for one in sets}) == 1:
        sets.append(_together(sets))
    return sets


def _split(name: str, vectors: F32, items: int | None, is_sample: bool) -> Dataset:
    held_out = min(HELD_OUT, len(vectors) // 10)
    rows = vectors[: len(vectors) - held_out][:items]
    if len(rows) < FEWEST_ITEMS:
        raise ValueError(f"expected at least {FEWEST_ITEMS} items to index, received {len(rows)}")
    queries = vectors[len(vectors) - held_out :]
    half = held_out // 2
    ids = item_ids(0, len(rows))
    return Dataset(name, is_sample, False, ids, rows, queries[:half], queries[half:])


def _together(sets: Sequence[Dataset]) -> Dataset:
    """All sets as one, shuffled, with as many queries as one of them."""
    rows = np.concatenate([one.items for one in sets])
    rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
    share = len(sets)
    choosing = np.concatenate([one.choosing[::share] for one in sets])
    scored = np.concatenate([one.scored[::share] for one in sets])
    name = "both together" if share == 2 else "all together"
    return Dataset(name, False, True, item_ids(0, len(rows)), rows, choosing, scored)
