"""What several figures share: the trained family, the loaded index and graph, the broker."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from kafka import KafkaAdminClient

from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker, kafka_broker
from tests.bench import loading
from tests.bench.bars import Bars
from tests.bench.dataset import Dataset
from tests.bench.figures import Unmeasured
from tests.bench.peers.hnsw import Hnsw
from tests.bench.peers.ours import Ours
from tests.bench.tables import Plot, Table

TOPIC_MS = 15_000


class Workbench:
    """Makes each shared thing once, when the first figure asks for it.

    Attributes:
        tables: what stands beside the figures.
        plots: the same as pictures.
        unmeasured: parts of a benchmark that could not be run.

    Args:
        sets: the vectors, the main set first.
        full: whether every peer and every curve is measured.
        repeats: how often what can be repeated is repeated.
        folder: scratch space on a real disk.
        bars: where progress is shown.
        stack: closes what was started.
    """

    def __init__(
        self, sets: Sequence[Dataset], full: bool, repeats: int, folder: Path, bars: Bars,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self.sets = sets
        self.dataset = sets[0]
        self.full = full
        self.repeats = repeats
        self.folder = folder
        self.bars = bars
        self._stack = stack
        self.broker_kind: str | None = None
        self.cores = len(os.sched_getaffinity(0))
        self.tables: list[Table] = []
        self.plots: list[Plot] = []
        self.unmeasured: list[Unmeasured] = []
        self._grown: dict[str, tuple[Path, Hnsw]] = {}

    @cached_property
    def trained(self) -> loading.Trained:
        """An empty index with a family trained on the items."""
        self.bars.say(f"training voronoi cells on {len(self.dataset):,} vectors")
        return loading.train(self.dataset, self.folder / "trained")

    @cached_property
    def loaded(self) -> loading.Loaded:
        """All items, in an index and in a graph."""
        path = self.copy(self.trained.path, "loaded")
        return loading.load(self.dataset, path, self.folder / "hyperplane", self.bars)

    def keep(self, dataset: Dataset, path: Path, graph: Hnsw) -> None:
        """Remember an index and a graph that hold all items of a set, for ``contestants``."""
        self._grown[dataset.name] = (path, graph)

    def contestants(self, dataset: Dataset) -> tuple[Ours, Hnsw]:
        """Ourselves and hnswlib over a set; with all of its items in them, or not built yet."""
        if dataset is self.dataset and "loaded" in vars(self):
            return Ours(self.loaded.path), Hnsw(self.loaded.graph)
        if dataset.name in self._grown:
            path, graph = self._grown.pop(dataset.name)
            return Ours(path), graph
        return Ours(self.folder / f"index-{uuid.uuid4().hex[:12]}"), Hnsw()

    def filled(self, dataset: Dataset) -> tuple[Ours, Hnsw]:
        """The same with all items in them."""
        ours, graph = self.contestants(dataset)
        if not ours.path.exists():
            ours.build(dataset.items, len(dataset), self.cores)
            ours.calibrate()
            ours.close()
        if graph.graph is None:
            graph.build(dataset.items, len(dataset), self.cores)
        return ours, graph

    @cached_property
    def broker(self) -> Broker:
        """A real broker.

        Raises:
            NoBrokerError: there is none to be had.
        """
        self.bars.say("starting a broker")
        broker = self._stack.enter_context(kafka_broker())
        self.broker_kind = broker.kind
        return broker

    @property
    def connection(self) -> Connection:
        """How to reach the broker."""
        return Connection(self.broker.bootstrap_servers)

    @contextmanager
    def topic(self) -> Iterator[str]:
        """A fresh topic of one partition, deleted at the end of the block."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        admin = KafkaAdminClient(**self.connection.client_settings())
        try:
            admin.create_topics(
                {name: {"num_partitions": 1, "replication_factor": 1}},
                timeout_ms=TOPIC_MS,
                wait_for_metadata=True,
            )
            try:
                yield name
            finally:
                admin.delete_topics([name], raise_errors=False)
        finally:
            admin.close()

    def copy(self, index: Path, name: str) -> Path:
        """A copy of an index that nobody has open: LMDB's locks do not survive another reader."""
        target = self.folder / name
        shutil.copytree(index, target)
        return target
