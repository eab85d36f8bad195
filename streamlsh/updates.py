"""Updates: what a writer is told, what it answers, and how items are checked and packed."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.config import (
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTE_DEPTH,
    MAX_ID_BYTES,
    MAX_LENGTH,
    MAX_TAG_BYTES,
    MAX_TAGS,
    MAX_VERSION,
    MIN_LENGTH,
    MIN_VERSION,
    IndexConfig,
)
from streamlsh.errors import (
    AttributesError,
    CorruptIndexError,
    DimensionError,
    ItemIdError,
    NonFiniteVectorError,
    PositionError,
    TagsError,
    VersionError,
    ZeroVectorError,
)
from streamlsh.kernels.encode import PLAIN_SQUARES

F32 = NDArray[np.float32]

_NO_TAGS = b"\x92\x90"
"""How extras without tags begin: a list of two, the first an empty list."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """Insert an item, or replace the one of the same id.

    Attributes:
        id: 1 to 511 bytes of UTF-8.
        vector: (dim,) float32.
        version: decides against other updates of the id; ``None`` means order of arrival.
        tags: short strings, kept as a sorted set.
        attributes: a plain map that is returned with the item.
    """

    id: str
    vector: F32
    version: int | None = None
    tags: Sequence[str] = ()
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Upserts:
    """Many items to insert or replace, in order, column by column; without tags and attributes.

    A stream of nothing but these costs a fraction of what single updates cost.

    Attributes:
        ids: n ids, each 1 to 511 bytes of UTF-8.
        vectors: (n, dim) float32.
        versions: n versions, each as in `Upsert`; ``None`` for none at all.
    """

    ids: Sequence[str]
    vectors: F32
    versions: Sequence[int | None] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the item of this id, if there is one.

    Attributes:
        id: 1 to 511 bytes of UTF-8.
        version: decides against other updates of the id; ``None`` means order of arrival.
    """

    id: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far an index reflects one partition of a source.

    Attributes:
        stream: name of the source, such as a topic.
        partition: number of the partition.
        offset: the next offset to read.
        identity: what tells this stream from another of the same name, such as a topic's UUID.
        epoch: of the leader under which the record before the offset was read, or a later one; with
            it a broker can tell whether that record is still there. ``None`` if it is not known.
    """

    stream: str
    partition: int
    offset: int
    identity: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did, update by update.

    Attributes:
        commit: number of the commit that now stands.
        inserted: upserts of ids that were not there.
        replaced: upserts that changed an item.
        unchanged: upserts that said what the index held already.
        deleted: deletes of items that were there.
        absent: deletes of ids that were not there.
        stale: updates that lost against a newer or equal version, and changed nothing.
    """

    commit: int
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    absent: int = 0
    stale: int = 0


def check_id(item_id: object, row: int | None = None) -> bytes:
    """An item id as UTF-8, or ``ItemIdError``."""
    expected = f"a string of 1 to {MAX_ID_BYTES} bytes of UTF-8"
    if not isinstance(item_id, str):
        raise ItemIdError(
            "item id is no string", expected=expected, received=type(item_id).__name__, row=row
        )
    try:
        encoded = item_id.encode()
    except UnicodeEncodeError as error:
        raise ItemIdError(
            "item id is no valid Unicode", expected=expected, received=ascii(item_id[:40]), row=row
        ) from error
    if not 1 <= len(encoded) <= MAX_ID_BYTES:
        raise ItemIdError(
            "item id has a wrong length", expected=expected, received=f"{len(encoded)} bytes",
            row=row,
        )  # fmt: skip
    return encoded


def check_version(version: object, row: int | None = None) -> int | None:
    """A version, or ``VersionError``."""
    if version is None:
        return None
    if (
        isinstance(version, bool)
        or not isinstance(version, int | np.integer)
        or not MIN_VERSION <= version <= MAX_VERSION
    ):
        raise VersionError(
            "not a usable version", expected=f"an integer from {MIN_VERSION} to {MAX_VERSION}",
            received=repr(version)[:40], row=row,
        )  # fmt: skip
    return int(version)


def check_vectors(
    config: IndexConfig, vectors: ArrayLike, places: Sequence[int] | None = None
) -> F32:
    """Vectors as a contiguous (n, dim) float32 array, or the error of the first bad row.

    Args:
        config: of the index that they are meant for.
        vectors: (n, dim) numbers.
        places: what errors shall call the rows, if not 0 to n - 1.

    Raises:
        DimensionError: no two-dimensional array of numbers with ``dim`` columns.
        NonFiniteVectorError: NaN or infinity, also when a float64 is too large for float32; or
            a row longer than ``MAX_LENGTH``.
        ZeroVectorError: a row without direction under cosine.
    """
    expected = f"shape (n, {config.dim}) of numbers"
    try:
        array = np.asarray(vectors)
        if array.dtype.kind not in "fiu":
            raise DimensionError(
                "vectors are no numbers", expected=expected, received=f"dtype {array.dtype}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # both are refused below
            rows = np.ascontiguousarray(array, np.float32)
    except (ValueError, TypeError) as error:
        if isinstance(error, DimensionError):
            raise
        raise DimensionError(
            "vectors are no array", expected=expected, received=str(error)
        ) from error
    if rows.ndim != 2 or rows.shape[1] != config.dim:
        raise DimensionError(
            "vectors have the wrong shape", expected=expected, received=f"shape {rows.shape}"
        )
    if _are_plain(rows):
        return rows
    # In float64 a sum of squares of float32 numbers is finite exactly if all of them are.
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    if not np.isfinite(squares).all():
        row = int(np.argmin(np.isfinite(squares)))
        at = int(np.argmin(np.isfinite(rows[row])))
        raise NonFiniteVectorError(
            "vector is not finite", expected="finite numbers within float32",
            received=f"{rows[row, at]} at coordinate {at}", row=places[row] if places else row,
        )  # fmt: skip
    if config.metric == "cosine":
        usable = (squares >= MIN_LENGTH**2) & (squares <= MAX_LENGTH**2)
        if not usable.all():
            row = int(np.argmin(usable))
            raise ZeroVectorError(
                "vector has no usable direction",
                expected=f"a length from {MIN_LENGTH:g} to {MAX_LENGTH:g} under cosine",
                received=f"{np.sqrt(squares[row]):g}", row=places[row] if places else row,
            )  # fmt: skip
    elif squares.max(initial=0.0) > MAX_LENGTH**2:
        row = int(np.argmax(squares > MAX_LENGTH**2))
        raise NonFiniteVectorError(
            "vector is so long that sums of its squares are not finite",
            expected=f"a length of at most {MAX_LENGTH:g}",
            received=f"{np.sqrt(squares[row]):g}", row=places[row] if places else row,
        )  # fmt: skip
    return rows


def _are_plain(rows: F32) -> bool:
    """Whether a quick look suffices: every length far from all limits, so nothing is wrong."""
    squares = np.einsum("ij,ij->i", rows, rows)
    return bool(((squares > PLAIN_SQUARES[0]) & (squares < PLAIN_SQUARES[1])).all())


def pack_extras(tags: object, attributes: object, row: int | None = None) -> bytes:
    """Tags and attributes as stored: msgpack of [sorted tags, attributes], empty for neither.

    Raises:
        TagsError: too many tags, or one that is no short, non-empty string.
        AttributesError: no map with string keys, not packable, or too large.
    """
    names = _check_tags(tags, row)
    if attributes is None:
        return bytes(msgpack.packb([names, None])) if names else b""
    expected = f"a map of strings to plain values, at most {MAX_ATTRIBUTE_BYTES} bytes packed"
    if not isinstance(attributes, Mapping) or not all(isinstance(k, str) for k in attributes):
        raise AttributesError(
            "attributes are no map", expected=expected, received=type(attributes).__name__, row=row
        )
    ordered = dict(sorted(attributes.items()))
    if not all(map(_is_plain, ordered.values())):
        raise AttributesError(
            "attributes hold a value that JSON cannot say", expected=expected,
            received=reprlib.repr(attributes)[:100], row=row,
        )  # fmt: skip
    try:
        packed: bytes = msgpack.packb([names, ordered])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise AttributesError(
            "attributes cannot be packed", expected=expected, received=str(error)[:100], row=row
        ) from error
    if len(packed) > MAX_ATTRIBUTE_BYTES:
        raise AttributesError(
            "attributes are too large", expected=expected, received=f"{len(packed)} bytes",
            row=row,
        )  # fmt: skip
    return packed


def unpack_extras(packed: bytes) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """Tags and attributes from what ``pack_extras`` gave.

    Raises:
        CorruptIndexError: something else was stored there.
    """
    if not packed:
        return (), None
    try:
        tags, attributes = msgpack.unpackb(packed)
    except (ValueError, TypeError, OverflowError) as error:
        raise _no_extras(f"{type(error).__name__}: {error}") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise _no_extras("other tags")
    if attributes is not None and not isinstance(attributes, dict):
        raise _no_extras("other attributes")
    return tuple(tags), attributes


def unpack_tags(packed: bytes) -> list[bytes]:
    """The tags alone, in UTF-8, from what ``pack_extras`` gave; attributes are not looked at.

    Raises:
        CorruptIndexError: something else was stored there.
    """
    if not packed or packed.startswith(_NO_TAGS):
        return []
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=len(packed))
    unpacker.feed(packed)
    try:
        unpacker.read_array_header()
        tags: object = unpacker.unpack()
    except (ValueError, TypeError, OverflowError, msgpack.OutOfData) as error:
        raise _no_extras(f"{type(error).__name__}: {error}") from error
    if not isinstance(tags, list) or not all(isinstance(tag, bytes) for tag in tags):
        raise _no_extras("other tags")
    return tags


def _no_extras(received: str) -> CorruptIndexError:
    return CorruptIndexError(
        "the tags and attributes of an item cannot be read; restore the index from a copy or "
        "rebuild it",
        expected="a list of strings and a map", received=received,
    )  # fmt: skip


def check_tag(tag: object, expected: str, row: int | None = None) -> str:
    """A tag that an item can have, or ``TagsError`` that says what was expected."""
    if not isinstance(tag, str):
        raise TagsError("tag is no string", expected=expected, received=type(tag).__name__, row=row)
    size = len(tag.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_TAG_BYTES or not tag.isprintable():
        raise TagsError(
            "tag is empty, too long or not printable", expected=expected,
            received=f"{size} bytes", row=row,
        )  # fmt: skip
    return tag


def _is_plain(value: object, depth: int = 1) -> bool:
    """Whether both msgpack and JSON can carry a value, nested no deeper than allowed."""
    if isinstance(value, float):
        return math.isfinite(value)
    if depth > MAX_ATTRIBUTE_DEPTH:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(v, depth + 1) for v in value)
    return value is None or isinstance(value, bool | int | str)


def _check_tags(tags: object, row: int | None) -> list[str]:
    expected = f"at most {MAX_TAGS} strings of 1 to {MAX_TAG_BYTES} bytes"
    if tags is None:
        return []
    if isinstance(tags, str | bytes | Mapping) or not hasattr(tags, "__iter__"):
        raise TagsError(
            "tags are no list", expected=expected, received=type(tags).__name__, row=row
        )
    names = set()
    for tag in tags:
        names.add(check_tag(tag, expected, row))
    if len(names) > MAX_TAGS:
        raise TagsError("too many tags", expected=expected, received=len(names), row=row)
    return sorted(names)


def check_position(position: Position) -> None:
    """Raise ``PositionError`` unless a position can be stored."""
    for name, text, least in (("stream", position.stream, 1), ("identity", position.identity, 0)):
        expected = f"a string of {least} to {MAX_ID_BYTES - 4} bytes of UTF-8"
        try:
            size = len(text.encode())
        except (AttributeError, UnicodeEncodeError) as error:
            raise PositionError(
                f"{name} of a position is no valid string", expected=expected,
                received=ascii(text)[:40],
            ) from error  # fmt: skip
        if not least <= size <= MAX_ID_BYTES - 4:
            raise PositionError(
                f"{name} of a position has a wrong length", expected=expected,
                received=f"{size} bytes",
            )  # fmt: skip
    _check_number("partition", position.partition, 31)
    _check_number("offset", position.offset, 63)
    if position.epoch is not None:
        _check_number("epoch", position.epoch, 31)


def _check_number(name: str, value: object, bits: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**bits:
        raise PositionError(
            f"not a usable {name}", expected=f"an integer from 0 to 2^{bits} - 1",
            received=repr(value)[:40],
        )  # fmt: skip


def validate_update(config: IndexConfig, update: Upsert | Delete) -> None:
    """Check one update as a writer would, without staging it.

    Raises:
        InvalidInputError: the error that ``Writer.stage`` would raise for it.
    """
    check_id(update.id)
    check_version(update.version)
    if isinstance(update, Upsert):
        check_vectors(config, [update.vector])
        pack_extras(update.tags, update.attributes)
