"""From updates as a caller gives them to checked columns: keys, row numbers and vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.config import IndexConfig
from streamlsh.errors import DimensionError
from streamlsh.staging import StagedUpdate
from streamlsh.updates import (
    Delete,
    Upsert,
    Upserts,
    check_id,
    check_vectors,
    check_version,
    pack_extras,
)

F32 = NDArray[np.float32]


def collect(
    config: IndexConfig, updates: Iterable[Upsert | Delete | Upserts]
) -> tuple[list[StagedUpdate], F32]:
    """Check updates and copy their vectors into one array, in the order given.

    Args:
        config: of the index that they are meant for.
        updates: single updates, and many in one as `Upserts`.

    Returns:
        One staged update each, and the (rows, dim) vectors that their ``row`` counts.

    Raises:
        InvalidInputError: the first thing wrong, with the place as its row; the items of
            `Upserts` count one by one.
    """
    updates = list(updates)
    staged: list[StagedUpdate] = []
    places: list[int] = []
    blocks: list[NDArray[np.generic]] = []
    for update in updates:
        place = len(staged)
        if isinstance(update, Upserts):
            blocks.append(_block(config, update, place))
            row = len(places)
            places += range(place, place + len(update.ids))
            staged += _staged_run(update, place, row)
        elif isinstance(update, Upsert):
            key, version = check_id(update.id, place), check_version(update.version, place)
            extras = (
                pack_extras(update.tags, update.attributes, place)
                if update.tags != () or update.attributes is not None
                else b""
            )
            blocks.append(_numbers(update.vector, (config.dim,), place)[None])
            staged.append(StagedUpdate(key, len(places), version, extras))
            places.append(place)
        else:
            key, version = check_id(update.id, place), check_version(update.version, place)
            staged.append(StagedUpdate(key, None, version, b""))
    if not blocks:
        return staged, np.zeros((0, config.dim), np.float32)
    # Copied, because the caller may change its arrays before the commit.
    vectors = np.empty((len(places), config.dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # both are refused next
        np.concatenate(blocks, out=vectors, casting="unsafe")
    return staged, check_vectors(config, vectors, places)


def collect_upserts(
    config: IndexConfig,
    ids: Sequence[str],
    vectors: ArrayLike,
    versions: Sequence[int | None] | None,
    tags: Sequence[Sequence[str] | None] | None,
    attributes: Sequence[Mapping[str, Any] | None] | None,
) -> tuple[list[StagedUpdate], F32]:
    """Check n upserts that come as columns, see ``Writer.upsert``, and copy their vectors.

    Raises:
        InvalidInputError: the first thing wrong, with its row.
    """
    # Copied, because the caller may change its array before the commit.
    rows = check_vectors(config, vectors).copy()
    count = len(rows)
    for name, values in (("ids", ids), ("versions", versions), ("tags", tags),
                         ("attributes", attributes)):  # fmt: skip
        if values is not None and (isinstance(values, str) or len(values) != count):
            raise DimensionError(
                f"{name} do not match the vectors", expected=f"a sequence of {count}",
                received="a string" if isinstance(values, str) else len(values),
            )  # fmt: skip
    staged = [
        StagedUpdate(
            check_id(ids[i], i),
            i,
            None if versions is None else check_version(versions[i], i),
            b""
            if tags is None and attributes is None
            else pack_extras(tags and tags[i], attributes and attributes[i], i),
        )
        for i in range(count)
    ]
    return staged, rows


def collect_deletes(
    config: IndexConfig, ids: Sequence[str], versions: Sequence[int | None] | None
) -> tuple[list[StagedUpdate], F32]:
    """Check n deletes that come as columns, see ``Writer.delete``; there are no vectors.

    Raises:
        InvalidInputError: the first thing wrong, with its row.
    """
    if isinstance(ids, str) or (versions is not None and len(versions) != len(ids)):
        raise DimensionError(
            "ids and versions of a delete do not match",
            expected="a list of ids and, if any, as many versions",
            received="a string" if isinstance(ids, str) else f"{len(ids)} ids",
        )
    staged = [
        StagedUpdate(
            check_id(item_id, i),
            None,
            None if versions is None else check_version(versions[i], i),
            b"",
        )
        for i, item_id in enumerate(ids)
    ]
    return staged, np.zeros((0, config.dim), np.float32)


def _staged_run(run: Upserts, place: int, row: int) -> list[StagedUpdate]:
    keys = [check_id(item_id, place + i) for i, item_id in enumerate(run.ids)]
    if run.versions is None:
        return [StagedUpdate(key, row + i, None, b"") for i, key in enumerate(keys)]
    return [
        StagedUpdate(key, row + i, check_version(version, place + i), b"")
        for i, (key, version) in enumerate(zip(keys, run.versions, strict=True))
    ]


def _block(config: IndexConfig, run: Upserts, place: int) -> NDArray[np.generic]:
    """A run's vectors, with the right shape."""
    if isinstance(run.ids, str):
        raise DimensionError(
            "ids are no list", expected="a sequence of ids", received="a string", row=place
        )
    count = len(run.ids)
    if run.versions is not None and len(run.versions) != count:
        raise DimensionError(
            "versions do not match the ids", expected=f"a sequence of {count}",
            received=len(run.versions), row=place,
        )  # fmt: skip
    return _numbers(run.vectors, (count, config.dim), place)


def _numbers(values: object, shape: tuple[int, ...], place: int) -> NDArray[np.generic]:
    expected = f"shape {shape} of numbers"
    try:
        array: NDArray[np.generic] = np.asarray(values)
    except ValueError as error:
        raise DimensionError(
            "vector is no array", expected=expected, received=str(error), row=place
        ) from error
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise DimensionError(
            "vector has the wrong shape", expected=expected,
            received=f"shape {array.shape} of dtype {array.dtype}", row=place,
        )  # fmt: skip
    return array
