"""ScaNN: a tree with SOAR, anisotropic hashing, and reordering."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scann.scann_ops.py import scann_ops_pybind
from scann.scann_ops.py.scann_builder import ReorderType

from tests.bench.peers.base import F32, K, Line, Peer, Setting
from tests.bench.peers.faiss_indexes import list_count

REORDERS = (30, 60, 120, 240)
SOAR_LAMBDA = 1.5
ANISOTROPIC_THRESHOLD = 0.2
DIMENSIONS_A_BLOCK = 2
TRAINING_ROWS = 100_000


class Scann(Peer):
    """``scann_ops_pybind`` over dot products, its vectors for reordering in bfloat16."""

    title = "ScaNN"
    packages = ("scann",)
    grows = True
    batches = True

    def __init__(self) -> None:
        self._searcher: Any = None
        self._leaves = 0

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._leaves = list_count(capacity)
        builder = (
            scann_ops_pybind.builder(items, K, "dot_product")
            .tree(
                num_leaves=self._leaves,
                num_leaves_to_search=self._leaves // 16,
                training_sample_size=min(len(items), TRAINING_ROWS),
                soar_lambda=SOAR_LAMBDA,
            )
            .score_ah(DIMENSIONS_A_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD)
            .reorder(REORDERS[0], quantize=ReorderType.BFLOAT16)
        )
        builder.set_n_training_threads(threads)
        with _silence():
            self._searcher = builder.build()
        self._searcher.set_num_threads(1)

    def add(self, items: F32) -> None:
        # Without document ids the searcher's own `upsert` refuses; the compiled part does not.
        self._searcher.searcher.upsert([None] * len(items), items, len(items))

    def lines(self) -> Sequence[Line]:
        return [Line(1, self._leaves, partial(_setting, reorder)) for reorder in REORDERS]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        leaves, reorder = setting.values
        return partial(
            self._searcher.search,
            final_num_neighbors=K,
            pre_reorder_num_neighbors=int(reorder),
            leaves_to_search=int(leaves),
        )

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer[0].tolist()
        return found

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        leaves, reorder = setting.values
        self._searcher.set_num_threads(threads)
        ask = self._searcher.search_batched
        if threads > 1:
            ask = self._searcher.search_batched_parallel
        return partial(
            ask,
            final_num_neighbors=K,
            pre_reorder_num_neighbors=int(reorder),
            leaves_to_search=int(leaves),
        )

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        found: list[list[int]] = np.asarray(answer[0]).tolist()
        return found

    def save(self, folder: Path) -> bool:
        self._searcher.serialize(str(folder))
        return True

    def close(self) -> None:
        self._searcher = None


@contextmanager
def _silence() -> Iterator[None]:
    """Drops what the library's log writes to the process's standard error, a screen for each tree.

    What goes wrong is raised as an exception all the same.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _setting(reorder: int, leaves: int) -> Setting:
    return Setting(f"{leaves} leaves, reorder {reorder}", (leaves, reorder))
