"""Catalogues are full of near-duplicates, whose sketches cannot tell them apart."""

from pathlib import Path

import numpy as np
import pytest

import streamlsh

CLUSTERS, COPIES, DIM = 6, 300, 64


@pytest.mark.parametrize("family", ["hyperplane", "voronoi"])
@pytest.mark.parametrize("spread", [0.0, 1e-4])
@pytest.mark.parametrize("probes", [None, 20])
def test_answers_among_more_near_duplicates_than_are_re_ranked_do_not_depend_on_history(
    tmp_path: Path, family: str, spread: float, probes: int | None
) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIM))
    noise = rng.standard_normal((CLUSTERS * COPIES, DIM))
    rows = (np.repeat(centres, COPIES, axis=0) + spread * noise).astype(np.float32)
    ids = [f"item-{number:04}" for number in range(len(rows))]
    answers = []
    for turn in range(2):
        path = tmp_path / str(turn)
        streamlsh.create(path, dim=DIM, family=family, sample=rows[::3])
        order = rng.permutation(len(rows)) if turn else np.arange(len(rows))
        with streamlsh.writer(path) as writer:
            for start in range(0, len(rows), 400 + 100 * turn):
                some = order[start : start + 400 + 100 * turn]
                writer.upsert([ids[i] for i in some], rows[some])
                writer.commit()
        with streamlsh.open(path) as reader:
            answers.append([reader.search(centre, probes=probes) for centre in centres])
            exact = [reader.exact(centre) for centre in centres]
    for one, other, best in zip(*answers, exact, strict=True):
        assert one.ids == other.ids
        np.testing.assert_array_equal(one.scores, other.scores)
        if not spread:
            assert one.ids == best.ids, "among equals, ids decide"
