"""Every error streamlsh raises on purpose, in one tree.

::

    StreamLSHError
    ├── InvalidInputError (ValueError)      what the caller passed in cannot be used
    │   ├── DimensionError                  a vector of the wrong length or shape
    │   ├── NonFiniteVectorError            NaN or infinity in a vector
    │   ├── ZeroVectorError                 a vector without direction under cosine
    │   ├── ItemIdError                     an id that is empty, too long or no string
    │   ├── VersionError                    a version outside the signed 64-bit range
    │   ├── TagsError                       tags that are no short list of short strings
    │   ├── AttributesError                 attributes that are too large or no plain map
    │   ├── UnknownMetricError
    │   ├── UnknownFamilyError
    │   ├── FamilyParameterError            a family parameter out of its range
    │   ├── SampleError                     a sample that is missing or cannot be used
    │   └── PositionError                   a source position that cannot be stored
    ├── IndexPathError                      the path does not hold what was asked for
    │   ├── IndexNotFoundError (FileNotFoundError)
    │   ├── IndexExistsError (FileExistsError)
    │   └── NetworkFilesystemError
    ├── IndexContentError                   the file is there, but cannot be trusted
    │   ├── OlderFormatError                written by an earlier version: upgrade it
    │   ├── CurrentFormatError              there is nothing to upgrade
    │   ├── NewerFormatError                written by a later version of streamlsh
    │   ├── FamilyDigestError               damaged or foreign family or configuration
    │   └── CorruptIndexError               an invariant of the file is broken
    ├── StorageError (OSError)              the storage below refused
    │   ├── MapFullError                    the memory map has no room left
    │   ├── MapLimitError                   more of it is in use than upserts may take
    │   ├── DiskFullError                   the disk (or a quota) has no room left
    │   └── LockConflictError               the lock file is used in a way that cannot work
    ├── WriterLockedError                   another process writes this index
    ├── FencedError                         another writer took over; this one must stop
    ├── SlotsExhaustedError                 the index has given out all its slot numbers
    └── ClosedError                         the reader, snapshot or writer was closed

Every error carries what was expected and what came, in its message and as attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StreamLSHError(Exception):
    """Root of all errors raised on purpose by streamlsh."""

    def __reduce__(self) -> tuple[Callable[..., StreamLSHError], tuple[Any, ...]]:
        # By default an error is rebuilt from its message alone, which fails where more is needed.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[StreamLSHError], args: tuple[Any, ...], state: dict[str, Any]
) -> StreamLSHError:
    """An error that comes from another process."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidInputError(StreamLSHError, ValueError):
    """What the caller passed in cannot be used; nothing was changed.

    Attributes:
        expected: what would have been accepted.
        received: what came instead.
        row: index of the offending row of a batch, or ``None``.
    """

    def __init__(
        self, message: str, *, expected: object, received: object, row: int | None = None
    ) -> None:
        where = "" if row is None else f" in row {row}"
        super().__init__(f"{message}{where}: expected {expected}, received {received}")
        self.expected = expected
        self.received = received
        self.row = row


class DimensionError(InvalidInputError):
    """A vector, or an array of them, has the wrong shape."""


class NonFiniteVectorError(InvalidInputError):
    """A vector holds NaN or infinity."""


class ZeroVectorError(InvalidInputError):
    """A vector of length zero has no direction, so no cosine."""


class ItemIdError(InvalidInputError):
    """An item id is empty, longer than 511 bytes of UTF-8, or not a string."""


class VersionError(InvalidInputError):
    """A version is not an integer of the signed 64-bit range."""


class TagsError(InvalidInputError):
    """Tags are not a short list of short, non-empty strings."""


class AttributesError(InvalidInputError):
    """Attributes are not a plain map, or too large once packed."""


class UnknownMetricError(InvalidInputError):
    """No such metric."""


class UnknownFamilyError(InvalidInputError):
    """No such hash family."""


class FamilyParameterError(InvalidInputError):
    """A hash family's parameter is out of its range."""


class SampleError(InvalidInputError):
    """The family needs a sample, or the given one cannot be used."""


class PositionError(InvalidInputError):
    """A source position cannot be stored."""


class IndexPathError(StreamLSHError):
    """The path does not hold what was asked for.

    Attributes:
        path: the path in question.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class IndexNotFoundError(IndexPathError, FileNotFoundError):
    """There is no index at the path."""


class IndexExistsError(IndexPathError, FileExistsError):
    """There is something at the path already."""


class NetworkFilesystemError(IndexPathError):
    """The path lies on a network file system, where memory maps and locks are not safe."""


class IndexContentError(StreamLSHError):
    """The file is there but cannot be trusted.

    Attributes:
        expected: what a sound index would hold.
        received: what was found.
    """

    def __init__(self, message: str, *, expected: object, received: object) -> None:
        super().__init__(f"{message}: expected {expected}, received {received}")
        self.expected = expected
        self.received = received


class OlderFormatError(IndexContentError):
    """The index was written by an earlier version of streamlsh; ``upgrade`` makes a copy."""


class CurrentFormatError(IndexContentError):
    """The index that was to be upgraded has no older format."""


class NewerFormatError(IndexContentError):
    """The index was written by a later version of streamlsh."""


class FamilyDigestError(IndexContentError):
    """The stored configuration or hash family does not match its digest."""


class CorruptIndexError(IndexContentError):
    """An invariant of the file is broken."""


class StorageError(StreamLSHError, OSError):
    """The storage below refused; the last commit stands."""


class MapFullError(StorageError):
    """The memory map has no room left; the last commit stands."""


class MapLimitError(StorageError):
    """More of the memory map is in use than upserts may take; the last commit stands.

    Attributes:
        used: bytes in use by the last commit and by the snapshots that readers keep open.
        limit: bytes above which upserts are refused.
    """

    def __init__(self, message: str, *, used: int, limit: int) -> None:
        super().__init__(message)
        self.used = used
        self.limit = limit


class DiskFullError(StorageError):
    """The disk or a quota has no room left; the last commit stands."""


class LockConflictError(StorageError):
    """LMDB's lock file is used in a way that cannot work."""


class WriterLockedError(StreamLSHError):
    """Another writer holds this index.

    Attributes:
        holder: what the lock file says of the other writer.
    """

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class FencedError(StreamLSHError):
    """Another writer took this index over; nothing of the batch was written.

    Attributes:
        expected: the epoch or position this writer believed in.
        received: what the index holds now.
    """

    def __init__(self, message: str, *, expected: object, received: object) -> None:
        super().__init__(f"{message}: expected {expected}, found {received}")
        self.expected = expected
        self.received = received


class SlotsExhaustedError(StreamLSHError):
    """The index has given out all its slot numbers; rebuild it from its export."""


class ClosedError(StreamLSHError):
    """The reader, snapshot or writer was closed before this call."""
