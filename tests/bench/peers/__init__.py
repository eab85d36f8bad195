"""The contestants of the benchmark: one small module a library, one interface for all."""

from __future__ import annotations

from importlib import import_module

from tests.bench.peers.base import MissingPeerError, Peer

OTHERS = {
    "ScaNN": "scann_tree:Scann",
    "faiss IVF,RaBitQ fast scan": "faiss_indexes:IvfRabitq",
    "SVS Vamana int8, re-ranked": "svs_graph:SvsInt8",
    "SVS Vamana float16": "svs_graph:SvsFloat16",
    "faiss HNSW32,SQ8": "faiss_indexes:HnswSq8",
    "faiss IVF,PQ fast scan": "faiss_indexes:IvfPq",
    "faiss IVF,Flat": "faiss_indexes:IvfFlat",
    "usearch f16": "usearch_graph:Usearch",
    "plain LSH (numpy)": "plain_lsh:PlainLsh",
    "LSH in Redis": "redis_lsh:RedisLsh",
    "exact scan (numpy)": "exact_scan:ExactScan",
}
"""Title -> where the class is. hnswlib and streamlsh itself are always there."""

QUICK = ("ScaNN", "faiss IVF,RaBitQ fast scan")
"""Those of ``make bench``; ``make bench-full`` takes all."""


def new_peer(title: str) -> Peer:
    """A peer by its title.

    Raises:
        MissingPeerError: its library or program is not installed here; the message says how to
            get it.
    """
    module, _, name = OTHERS[title].partition(":")
    try:
        peer: Peer = getattr(import_module(f"tests.bench.peers.{module}"), name)()
    except ImportError as error:
        raise MissingPeerError(
            f"needs the library {error.name!r}, which is not installed; "
            "make setup installs it where there is a build for this Python and processor"
        ) from error
    return peer
