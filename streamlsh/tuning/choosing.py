"""``tune``: which index to make for a number of items like those of a sample.

1. Hold rows of the sample out as queries and find their true neighbours among the rest.
2. For each family and each parameter of the grid, index the rest and measure ways to search,
   from narrow to wide, until the recall is reached and wider ones only cost more.
3. Price each way at the planned number of items. The more items there are, the nearer are the
   neighbours, so the entries that a query must score grow more slowly than they; how much more
   slowly is seen for each family on a quarter of the rows.
4. Take the cheapest way whose recall holds on one half of the queries, and report its recall on
   the other half beside it. Compare with no tables at all.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from streamlsh.calibrating import Progress
from streamlsh.config import (
    DEFAULT_DELETE_RETENTION,
    MAX_SLOTS,
    IndexConfig,
    check_dim,
    check_metric,
    check_seed,
)
from streamlsh.errors import InvalidInputError, SampleError
from streamlsh.metrics import as_queries
from streamlsh.planning import EXACT_BELOW, EXACT_DIM, check_count
from streamlsh.tuning import costs
from streamlsh.tuning.grid import NEAR, Tried, tried_parameters
from streamlsh.tuning.occupancy import Occupancy
from streamlsh.tuning.report import Choice, Trial, TuneReport
from streamlsh.tuning.trials import (
    DEARER,
    Runs,
    Sample,
    built,
    entries_needed,
    least_scores,
    repriced,
)
from streamlsh.updates import check_vectors

FEWEST_ROWS = 500
MOST_ROWS = 50_000
"""Rows of a larger sample that are looked at."""
QUERIES = 1000
QUERY_SHARE = 5
"""One row in so many is held out at most."""


def tune(
    sample: ArrayLike,
    *,
    items: int,
    recall: float = 0.95,
    metric: str = "cosine",
    bucket_size: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TuneReport:
    """Find the family, parameters and way to search that reach a recall at the least cost.

    Takes about a minute for 20,000 rows of 384 numbers, on one core, and writes only into a
    temporary directory. The same sample gives the same choice.

    Args:
        sample: (n, dim) vectors like those to be indexed, 500 at least and some ten thousand
            better; at most 50,000 of them are looked at.
        items: how many items the index will hold.
        recall: share of the true ten nearest neighbours that an answer should hold.
        metric: ``"cosine"``, ``"inner_product"`` or ``"euclidean"``.
        bucket_size: mean number of entries of a bucket, where it must be near some number (by a
            factor of two), or ``None`` for whatever is cheapest.
        seed: of the families, and of what is held out.
        progress: told how far it is.

    Raises:
        SampleError: the sample is too small.
        InvalidInputError: an argument cannot be used, or no parameters give such buckets.
    """
    _check(items, recall, bucket_size, metric, seed)
    trial_sample = _split(sample, items, recall, metric, seed)
    todo = tried_parameters(metric, trial_sample.hashed, items, seed, bucket_size)
    exact = costs.by_vectors(items, trial_sample.rows.shape[1])
    found: list[_Found] = []
    means: list[float] = []
    for done, tried in enumerate(todo):
        if progress is not None:
            progress(done / (len(todo) + 1), _named(tried))
        with _running(trial_sample, tried) as runs:
            means.append(runs.occupancy.mean)
            if bucket_size is None or _is_near(runs.occupancy, bucket_size):
                found.append(_measured(runs, tried, found, exact, compared=bucket_size is None))
    if not found:
        raise _no_such_buckets(bucket_size, items, means)
    if progress is not None:
        progress(len(todo) / (len(todo) + 1), "growth of candidates")
    found = _extrapolated(trial_sample, found)
    if progress is not None:
        progress(1.0, "done")
    choices = sorted(
        (choice for one in found for choice in one.choices),
        key=lambda choice: choice.way.microseconds,
    )
    scans = [one.scan for one in found if one.scan is not None]
    best = choices[0] if choices else None
    scan = min(scans, key=lambda choice: (choice.way.microseconds, choice.disk_bytes), default=None)
    route, reason = _verdict(trial_sample, best, scan, exact, bucket_size)
    return TuneReport(
        items, recall, trial_sample.rows.shape[1], metric, bucket_size, len(trial_sample.rows),
        len(trial_sample.queries), route, reason, best, tuple(choices), scan, exact,
        tuple(one.trial for one in found),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    """What one trial found: the cheapest ways by tables, and by a scan where it was measured."""

    trial: Trial
    choices: tuple[Choice, ...]
    scan: Choice | None


@contextmanager
def _running(sample: Sample, tried: Tried) -> Iterator[Runs]:
    with (
        tempfile.TemporaryDirectory(prefix="streamlsh-tune-") as folder,
        built(sample, tried, Path(folder)) as runs,
    ):
        yield runs


def _measured(
    runs: Runs, tried: Tried, before: list[_Found], exact: float, *, compared: bool
) -> _Found:
    """Measure one index.

    Args:
        runs: of the index.
        tried: its family and parameters.
        before: what was found of others.
        exact: microseconds of a scan of all vectors.
        compared: whether tables that are much dearer than a scan of all sketches are let go.
    """
    own = [one for one in before if one.trial.family == tried.family]
    scan = None
    if not own and (way := runs.scan()) is not None:
        scan = runs.choice(way)
    rivals = [choice.way.microseconds for one in own for choice in one.choices]
    if compared:
        scans = [*(one.scan for one in before), scan]
        rivals += [one.way.microseconds for one in scans if one is not None]
    limit = min([exact, *(DEARER * rival for rival in rivals)])
    choices = tuple(runs.choice(way) for way in runs.tables(limit))
    trial = Trial(tried.family, tried.parameters, 1.0, runs.ways)
    return _Found(trial, choices, scan)


def _extrapolated(sample: Sample, found: list[_Found]) -> list[_Found]:
    """All trials, priced with what a smaller sample says of the growth of candidates."""
    growth = sample.items / len(sample.rows)
    if growth <= 1.0:
        return found
    exponents: dict[str, float] = {}
    for family in dict.fromkeys(one.trial.family for one in found):
        own = [one for one in found if one.trial.family == family and one.choices]
        if own:
            cheapest = min(own, key=lambda one: one.choices[0].way.microseconds)
            exponents[family] = _exponent(sample, cheapest.trial)
    return [_with_exponent(one, exponents.get(one.trial.family, 1.0), growth) for one in found]


def _exponent(sample: Sample, trial: Trial) -> float:
    """How the entries that reach the recall grow: as this power of the items.

    Half-way between what is seen up to the sample's size and one. The growth becomes steeper: once
    the bucket of a neighbour is among the first that are probed anyway, entries grow as the items
    do.
    """
    smaller = sample.smaller()
    with _running(smaller, Tried(trial.family, trial.parameters)) as runs:
        few = runs.needed()
    many = entries_needed(trial.ways, sample.recall)
    if few is None or many is None:
        return 1.0
    # Both are counted at the planned number of items, as if they grew as the items do.
    ratio = many * len(sample.rows) / (few * len(smaller.rows))
    seen = math.log(ratio) / math.log(len(sample.rows) / len(smaller.rows))
    return 0.5 + 0.5 * min(max(seen, 0.0), 1.0)


def _with_exponent(one: _Found, exponent: float, growth: float) -> _Found:
    shrink = growth ** (exponent - 1.0)
    ways = tuple(repriced(way, shrink) for way in one.trial.ways)
    choices = tuple(replace(choice, way=repriced(choice.way, shrink)) for choice in one.choices)
    return _Found(replace(one.trial, exponent=exponent, ways=ways), choices, one.scan)


def _check(items: object, recall: object, bucket_size: object, metric: str, seed: int) -> None:
    check_count("items", items, 1, MAX_SLOTS)
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall < 1:
        raise InvalidInputError(
            "recall is out of range", expected="a number between 0 and 1", received=repr(recall)
        )
    if bucket_size is not None and (
        isinstance(bucket_size, bool)
        or not isinstance(bucket_size, int | float)
        or not 1 <= bucket_size <= MAX_SLOTS
    ):
        raise InvalidInputError(
            "bucket_size is out of range", expected="a number of entries, at least 1",
            received=repr(bucket_size),
        )  # fmt: skip
    check_metric(metric)
    check_seed(seed)


def _split(sample: ArrayLike, items: int, recall: float, metric: str, seed: int) -> Sample:
    """Rows to index and rows to ask for, in random order."""
    given = np.asarray(sample)
    if given.ndim != 2 or len(given) < FEWEST_ROWS:
        raise SampleError(
            "the sample cannot be tuned on",
            expected=f"(n, dim) numbers, at least {FEWEST_ROWS} rows",
            received=f"shape {given.shape}",
        )
    dim = given.shape[1]
    check_dim(dim)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(given), min(len(given), MOST_ROWS), replace=False)
    config = IndexConfig(dim, metric, "", {}, seed, DEFAULT_DELETE_RETENTION, 0)
    vectors = np.ascontiguousarray(check_vectors(config, given[chosen]))
    asked = min(QUERIES, len(vectors) // QUERY_SHARE) // 2 * 2
    queries = as_queries(metric, vectors[:asked])
    rows = np.ascontiguousarray(vectors[asked:][: max(items, FEWEST_ROWS)])
    hashed = as_queries(metric, rows)
    cuts = least_scores(metric, queries, hashed)
    return Sample(rows, rows, hashed, queries, cuts, metric, items, recall, seed)


def _named(tried: Tried) -> str:
    values = ", ".join(f"{name} {value}" for name, value in tried.parameters.items())
    return f"{tried.family} {values}"


def _is_near(occupancy: Occupancy, size: float) -> bool:
    return size / NEAR <= occupancy.mean <= size * NEAR


def _no_such_buckets(size: float | None, items: int, means: list[float]) -> InvalidInputError:
    found = ", ".join(f"{mean:.3g}" for mean in sorted(set(means)))
    return InvalidInputError(
        f"no parameters give buckets of about {size:g} entries at {items} items",
        expected=f"a bucket_size near what there is: {found or 'none'}", received=f"{size:g}",
    )  # fmt: skip


def _verdict(
    sample: Sample, best: Choice | None, scan: Choice | None, exact: float, size: float | None
) -> tuple[str, str]:
    """The route that is cheapest at the planned number of items, and why."""
    items, dim = sample.items, sample.rows.shape[1]
    if dim <= EXACT_DIM and items <= EXACT_BELOW:
        return "exact", (
            f"{dim} dimensions are too few for sketches to tell neighbours apart, and all "
            f"{items:,} vectors are scored in {exact:,.0f} us: any family will do, and the "
            "planner scans"
        )
    if best is None and scan is None:
        return "exact", (
            f"nothing that was tried reaches recall {sample.recall:g} before a scan of all "
            f"vectors, {exact:,.0f} us"
        )
    if scan is None:
        assert best is not None
        return "tables", "no scan of the sketches reaches the recall"
    cost = scan.way.microseconds
    if best is None:
        return "scan", (
            f"no tables reach recall {sample.recall:g} for less than {DEARER:g} times a scan of "
            f"all sketches, {cost:,.0f} us: plain scanning is the better answer"
        )
    own, below = best.way.microseconds, best.scan_below
    if size is not None:
        return "tables", (
            f"the cheapest with buckets of about {size:g} entries: {own:,.0f} us; a scan of all "
            f"sketches takes {cost:,.0f} us"
        )
    if own < cost and items > below:
        return "tables", (
            f"{own:,.0f} us by tables, {cost:,.0f} us by a scan of all sketches, "
            f"{exact:,.0f} us by a scan of all vectors"
        )
    why = f"the planner scans up to {below:,} items with {best.family}" if own < cost else "no less"
    return "scan", (
        f"{cost:,.0f} us by a scan of all sketches, {own:,.0f} us by tables ({why}): plain "
        "scanning is the better answer"
    )
