"""Indexes of one family: the one that lives through everything, and fresh ones beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import streamlsh
from streamlsh.calibrating import keep_calibration
from streamlsh.storage.schema import DATABASES
from streamlsh.storage.state import read_state
from tests.bench.peers.base import F32, I64
from tests.bench.peers.ours import FIRST_DIGIT, Ours
from tests.churn.catalogue import Catalogue

SAMPLE = 20_000
FILL = 1_000
"""Updates a commit of a fresh build: what ``streamlsh load`` does."""


class Lived(Ours):
    """An index whose items' numbers are looked up among those that are live now."""

    places: I64

    def labels(self, answer: Any) -> Iterable[int]:
        numbers = np.array([int(name[FIRST_DIGIT:]) for name in answer.ids], np.int64)
        found: list[int] = self.places[numbers].tolist()
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """How an index is laid out after a commit.

    Attributes:
        segments: their numbers.
        merges: numbers of those that merges under way make.
    """

    segments: frozenset[int]
    merges: frozenset[int]


def new_family(pool: F32, path: Path) -> None:
    """An empty index, made as ``streamlsh create --sample`` makes it: every other is a copy."""
    streamlsh.create(path, dim=pool.shape[1], sample=pool[:SAMPLE])


def fresh_build(
    catalogue: Catalogue, family: Path, path: Path, calibration: streamlsh.Calibration | None
) -> Lived:
    """The live items in an index of their own, with the same calibration."""
    shutil.copytree(family, path)
    with streamlsh.writer(path) as writer:
        for batch in catalogue.contents(FILL):
            writer.stage(catalogue.updates(batch))
            writer.commit()
    if calibration is not None:
        keep_calibration(path, calibration)
    return Lived(path)


def file_bytes(path: Path) -> int:
    """Length of the file."""
    return (path / "data.mdb").stat().st_size


def used_bytes(reader: streamlsh.Reader) -> int:
    """Pages that hold something: the file without its free pages and the list of these."""
    environment = reader._index.environment
    with environment.read() as transaction:
        stats = [transaction.stat(environment.database(name)) for name in DATABASES]
        stats.append(environment.handle.stat())
    pages = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
    return int(pages * stats[0]["psize"])


def shape_of(reader: streamlsh.Reader) -> Shape:
    """Look at the latest commit from outside; reads a few small records."""
    environment = reader._index.environment
    with environment.read() as transaction:
        state = read_state(transaction, environment.database("meta"))
    return Shape(
        frozenset(segment.number for segment in state.segments),
        frozenset(merge.number for merge in state.merges),
    )
