"""The vectors: a folder of the user's, or the shipped sample; items and held-out queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamlsh.datasets import glosses, load_folder

DEFAULT_ITEMS = 100_000
HELD_OUT = 1_000
FEWEST_ITEMS = 1_000

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Unit vectors, split once and for all.

    Attributes:
        name: where they come from, in words.
        is_sample: whether they are the shipped sample.
        ids: one an item.
        items: float32 (n, dim), what is indexed.
        choosing: float32 (q, dim) queries that parameters are chosen with.
        scored: float32 (q, dim) queries that speed and recall are reported for.
    """

    name: str
    is_sample: bool
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


def load_dataset(folder: Path | None, name: str, items: int) -> Dataset:
    """Read a set and hold out its last rows as queries: 1,000, or a tenth of a small set.

    Args:
        folder: holds ``NAME-codes.npy`` and ``NAME-scales.npy``; ``None`` for the sample.
        name: the set's name in the folder.
        items: how many of the other rows to index, at most.

    Raises:
        FileNotFoundError, ValueError: the folder does not hold such a set, or too small a one.
    """
    vectors = glosses().vectors if folder is None else load_folder(folder, name)
    held_out = min(HELD_OUT, len(vectors) // 10)
    rows = vectors[: len(vectors) - held_out][:items]
    if len(rows) < FEWEST_ITEMS:
        raise ValueError(f"expected at least {FEWEST_ITEMS} items to index, received {len(rows)}")
    queries = vectors[len(vectors) - held_out :]
    half = held_out // 2
    return Dataset(
        "the shipped sample of WordNet glosses" if folder is None else f"the set {name!r}",
        folder is None,
        [f"item-{number:07d}" for number in range(len(rows))],
        rows,
        queries[:half],
        queries[half:],
    )
