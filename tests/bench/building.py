"""Builds the contestants of one set, and notes what building took and what it left."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from tests.bench.dataset import Dataset
from tests.bench.memory import private_bytes
from tests.bench.peers import new_peer
from tests.bench.peers.base import MissingPeerError, Peer
from tests.bench.peers.hnsw import Hnsw
from tests.bench.peers.ours import Ours, OursExact, OursScan
from tests.bench.tables import Table, number
from tests.bench.truth import Truth

ADDED = 2_000
"""Items that come last, one thread, to see how fast a full index takes in more."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a peer cost.

    Attributes:
        title: the peer's.
        seconds: of building with every core; ``None`` where it was built for other figures.
        adds: items a second that one thread added at the end; ``None`` where that cannot be.
        memory: bytes an item of private memory.
        disk: bytes an item of what a restart needs; ``None`` where there is no such way.
        note: what else to know.
    """

    title: str
    seconds: float | None
    adds: float | None
    memory: float | None
    disk: float | None
    note: str = ""


class Arena:
    """One set with everybody who takes part; built when entered, closed at the end.

    Args:
        dataset: the set.
        folder: scratch space.
        others: titles of peers besides hnswlib and ourselves.
        cores: threads for building.
    """

    def __init__(self, dataset: Dataset, folder: Path, others: Sequence[str], cores: int) -> None:
        self.dataset = dataset
        self.choosing = Truth.of(dataset.items, dataset.choosing)
        self.scored = Truth.of(dataset.items, dataset.scored)
        self.peers: list[Peer] = []
        self.built: list[Built] = []
        self.missing: dict[str, str] = {}
        self._folder = folder
        self._others = others
        self._cores = cores

    def assemble(
        self, stack: ExitStack, ours: Ours, graph: Hnsw, say: Callable[[str], None]
    ) -> None:
        """Build everybody.

        Args:
            stack: closes the peers.
            ours: streamlsh; may hold all items already.
            graph: hnswlib; may hold all items already.
            say: told what is being built.
        """
        finished = ours.path.exists()
        self.take(stack, ours, say, finished=finished)
        for same in (OursScan(ours.path), OursExact(ours.path)):
            stack.callback(same.close)
            self.peers.append(same)
        self.take(stack, graph, say, finished=graph.graph is not None)
        for title in self._others:
            try:
                self.take(stack, new_peer(title), say)
            except MissingPeerError as error:
                self.missing[title] = str(error)
            except Exception as error:  # noqa: BLE001 - one peer must not cost the others
                traceback.print_exc()
                self.missing[title] = f"broke with {type(error).__name__}"

    def take(
        self, stack: ExitStack, peer: Peer, say: Callable[[str], None], *, finished: bool = False
    ) -> None:
        """Build one more peer, unless it is finished."""
        stack.callback(peer.close)
        say(f"  {peer.title}" + (" is there already" if finished else ""))
        before = private_bytes()
        seconds, adds = (None, None) if finished else self._fill(peer)
        note = ""
        if isinstance(peer, Ours) and not finished:
            started = time.perf_counter()
            peer.calibrate()
            note = f"calibrated in {time.perf_counter() - started:.1f} s"
        if isinstance(peer, Ours):
            peer.reader.search(self.dataset.choosing[0])
        after, own = private_bytes(), peer.own_bytes()
        count = len(self.dataset)
        if own is not None:
            memory: float | None = own / count
        else:
            memory = None if before is None or after is None else max(0, after - before) / count
        self.built.append(Built(peer.title, seconds, adds, memory, self._disk(peer), note))
        self.peers.append(peer)

    def _fill(self, peer: Peer) -> tuple[float, float | None]:
        """Seconds of the build, and the rate of what was added afterwards."""
        items = self.dataset.items
        first = len(items) - min(ADDED, len(items) // 10) if peer.grows else len(items)
        started = time.perf_counter()
        peer.build(items[:first], len(items), self._cores)
        seconds = time.perf_counter() - started
        if not peer.grows:
            return seconds, None
        with threadpool_limits(1):
            started = time.perf_counter()
            peer.add(items[first:])
            return seconds, (len(items) - first) / (time.perf_counter() - started)

    def _disk(self, peer: Peer) -> float | None:
        if isinstance(peer, Ours):
            return peer.file_bytes() / len(self.dataset)
        folder = self._folder / "saved"
        folder.mkdir()
        try:
            if not peer.save(folder):
                return None
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            return size / len(self.dataset)
        finally:
            shutil.rmtree(folder)

    def table(self, group: str) -> Table:
        """What everybody cost."""
        rows = [
            [
                one.title, number(one.seconds), number(one.adds),
                number(one.memory), number(one.disk), one.note,
            ]
            for one in self.built
        ]  # fmt: skip
        rows += [
            [title, "", "", "", "", f"not measured: {why}"] for title, why in self.missing.items()
        ]
        return Table(
            group,
            f"Building: {self.dataset.describe()}",
            ("", "build, s, every core", "items/s added, one thread",
             "private memory, bytes an item", "disk, bytes an item", "note"),
            rows,
            {
                "set": self.dataset.name,
                "built": [asdict(one) for one in self.built],
                "missing": self.missing,
            },
        )  # fmt: skip
