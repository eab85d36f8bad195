"""The benchmark runs on the shipped sample, and every peer in it really searches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bench.choosing import Chooser
from tests.bench.dataset import Dataset, load_sets
from tests.bench.peers import OTHERS, new_peer
from tests.bench.peers.base import MissingPeerError, Peer, padded
from tests.bench.peers.hnsw import Hnsw
from tests.bench.truth import Truth

ROOT = Path(__file__).parents[2]
ITEMS = 1_000
ADDED = 100


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_sets(None, None, ITEMS)[0]


@pytest.fixture(params=["hnswlib", *OTHERS])
def peer(request: pytest.FixtureRequest, sample: Dataset) -> Iterator[Peer]:
    try:
        peer = Hnsw() if request.param == "hnswlib" else new_peer(request.param)
    except MissingPeerError as error:
        pytest.skip(str(error))
    first = ITEMS - ADDED if peer.grows else ITEMS
    try:
        peer.build(sample.items[:first], ITEMS, 1)
        if peer.grows:
            peer.add(sample.items[first:])
        yield peer
    finally:
        peer.close()


def test_a_peer_reaches_a_recall_and_saves_itself(
    peer: Peer, sample: Dataset, tmp_path: Path
) -> None:
    choosing = Truth.of(sample.items, sample.choosing)
    setting = peer.fixed or Chooser(peer, choosing).cheapest(0.9)
    assert setting is not None
    ask = peer.asker(setting)
    answers = padded(peer.labels(ask(query)) for query in peer.prepare(sample.choosing))
    assert choosing.recall(answers) >= 0.88  # a sweep may have stopped at fewer queries
    assert peer.save(tmp_path)
    assert any(tmp_path.rglob("*"))


def test_a_peer_finds_added_items_by_themselves(peer: Peer, sample: Dataset) -> None:
    if not peer.grows:
        pytest.skip("this peer is built once")
    setting = peer.lines()[-1].at(peer.lines()[-1].high)
    added = sample.items[ITEMS - ADDED :]
    found = [next(iter(peer.labels(peer.asker(setting)(one)))) for one in peer.prepare(added)]
    scores = np.einsum("nd,nd->n", sample.items[found], added)
    assert np.mean(scores > 0.999) > 0.95


def test_a_batch_finds_what_single_queries_find(peer: Peer, sample: Dataset) -> None:
    if not peer.batches:
        pytest.skip("this peer has no batches")
    setting = peer.lines()[0].at(64)
    single = padded(peer.labels(peer.asker(setting)(one)) for one in peer.prepare(sample.choosing))
    batch = padded(peer.batch_labels(peer.batch_asker(setting, 2)(sample.choosing)))
    assert np.mean(single == batch) > 0.99


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_benchmark_of_the_sample_measures_queries_and_streams(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    arguments = ["--items", str(ITEMS), "--repeats", "1", "--json", str(result)]
    command = [sys.executable, "-m", "tests.bench", *arguments, "--only", "query", "stream"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(result.read_text(encoding="utf-8"))
    assert {figure["group"] for figure in content["figures"]} == {"query", "stream"}
    contestants = content["tables"][1]["data"]["contestants"]
    ours = [one for one in contestants if one["title"] == "streamlsh" and one["target"] == 0.95]
    assert ours[0]["recall"] > 0.9
