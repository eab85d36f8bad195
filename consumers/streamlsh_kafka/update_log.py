"""The embedded update log: a local append-only file with offsets, for where there is no Kafka.

The file is a header and then frames, all integers little-endian::

    header   8 bytes "SLSHLOG1", 16 bytes identity (a random UUID)
    frame    u32 length of the payload, u32 CRC-32 of these 4 bytes, u32 CRC-32 of the payload,
             payload: MessagePack [timestamp ms, key, value, [[header name, header value], ...]]

A record's offset is its number in the file, from 0. One process appends, any number read. An
append that was cut short leaves a torn tail: readers stop before it, the next appender cuts it
off. Damage anywhere else is an error, because what follows it would be lost in silence.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgpack

from streamlsh import Position
from streamlsh_kafka.errors import (
    CorruptUpdateLogError,
    OffsetBeyondEndError,
    SourceClosedError,
    TopicNotFoundError,
    TopicRecreatedError,
    UpdateLogLockedError,
)
from streamlsh_kafka.source import Headers, RawRecord

MAGIC: Final = b"SLSHLOG1"
_FRAME: Final = struct.Struct("<III")
_HEADER_BYTES: Final = len(MAGIC) + 16
_LOOK_AGAIN_SECONDS: Final = 0.002
_READ_BYTES: Final = 1024 * 1024

Entry = tuple[bytes | None, bytes | None, Headers]
"""What is appended: key, value (``None`` for a delete) and headers."""


class UpdateLogAppender:
    """The one process that appends to an update log; creates the file if there is none.

    Raises:
        UpdateLogLockedError: another process appends to it.
        CorruptUpdateLogError: it is no update log, or damaged before its tail.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock()
            if os.fstat(self._file).st_size < _HEADER_BYTES:
                # Only a creation that was cut short leaves so little, and nobody can have read it.
                os.ftruncate(self._file, 0)
                self._write(MAGIC + uuid.uuid4().bytes)
            with _Cursor(self.path) as cursor:
                cursor.skip(None)
                self.end_offset = cursor.offset
                if os.fstat(self._file).st_size > cursor.byte:
                    os.ftruncate(self._file, cursor.byte)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, entries: Iterable[Entry]) -> int:
        """Append records durably (one write, one sync); return the offset after the last.

        Raises:
            OSError: nothing of it was appended.
        """
        now = time.time_ns() // 1_000_000
        frames = []
        count = 0
        for key, value, headers in entries:
            payload = msgpack.packb([now, key, value, [list(pair) for pair in headers]])
            length = struct.pack("<I", len(payload))
            frames.append(_FRAME.pack(len(payload), zlib.crc32(length), zlib.crc32(payload)))
            frames.append(payload)
            count += 1
        size = os.fstat(self._file).st_size
        try:
            self._write(b"".join(frames))
        except OSError:
            # What was written in part would hide all that comes behind it.
            os.ftruncate(self._file, size)
            raise
        self.end_offset += count
        return self.end_offset

    def close(self) -> None:
        """Let go of the file and its lock; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpdateLogLockedError(
                f"{self.path}: another process appends to this update log", stream=str(self.path)
            ) from error

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)


class UpdateLogSource:
    """An update log as a source with one partition.

    Args:
        path: the file; it must exist, though it may still be empty.
        stream: the name under which the position is stored; the file's name by default.

    Raises:
        TopicNotFoundError: there is no such file.
        CorruptUpdateLogError: it is no update log.
    """

    def __init__(self, path: str | os.PathLike[str], *, stream: str | None = None) -> None:
        self._path = Path(path)
        self._stream = stream or self._path.name
        self._reader = _Cursor(self._path)
        self._end = _Cursor(self._path)

    @property
    def stream(self) -> str:
        """The name under which the position is stored."""
        return self._stream

    @property
    def identity(self) -> str:
        """The random UUID that the file was created with."""
        return str(self._reader.identity)

    def start(self, stored: Mapping[tuple[str, int], Position]) -> None:
        """Go to the stored offset, or to the beginning.

        Raises:
            TopicRecreatedError: the position belongs to another file of this name.
            OffsetBeyondEndError: the file is shorter than what was read.
        """
        position = stored.get((self._stream, 0))
        if position is None:
            return
        if position.identity != self.identity:
            raise TopicRecreatedError(
                stream=self._stream, expected=position.identity, received=self.identity
            )
        self._reader.skip(position.offset)
        if self._reader.offset < position.offset:
            raise OffsetBeyondEndError(
                stream=self._stream,
                partition=0,
                stored=position.offset,
                limit=self._reader.offset,
            )

    def poll(self, timeout: float, max_records: int) -> Sequence[RawRecord]:
        """Return records that are there, waiting up to ``timeout`` seconds for the first.

        Raises:
            CorruptUpdateLogError: the file is damaged before its tail.
        """
        deadline = time.monotonic() + timeout
        while True:
            records: list[RawRecord] = []
            while len(records) < max_records:
                offset = self._reader.offset
                payload = self._reader.next()
                if payload is None:
                    break
                try:
                    records.append(_unpack(self._stream, offset, payload))
                except (ValueError, TypeError, OverflowError) as error:
                    raise self._reader.damage(f"a record cannot be read ({error})") from error
            if records:
                return records
            if time.monotonic() >= deadline:
                self._check_file()
                return records
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _check_file(self) -> None:
        """See that the file that is read is still the one at the path, and not cut short."""
        with _Cursor(self._path) as now:
            if now.identity != self._reader.identity:
                raise TopicRecreatedError(
                    stream=self._stream, expected=self.identity, received=str(now.identity)
                )
            if self._path.stat().st_size < self._reader.byte:
                now.skip(None)
                raise OffsetBeyondEndError(
                    stream=self._stream, partition=0, stored=self._reader.offset, limit=now.offset
                )

    def positions(self) -> Sequence[Position]:
        """The number of the next record to read."""
        return [Position(self._stream, 0, self._reader.offset, self.identity)]

    def end_offsets(self) -> Mapping[int, int]:
        """The number of complete records in the file."""
        self._end.skip(None)
        return {0: self._end.offset}

    def delete_retention(self) -> None:
        """An update log keeps everything."""

    def close(self) -> None:
        """Close the file; may be called twice, and while another thread reads it."""
        self._reader.close()
        self._end.close()


def _unpack(stream: str, offset: int, payload: bytes) -> RawRecord:
    """A record from its payload, or ``ValueError`` if something else was written."""
    timestamp, key, value, headers = msgpack.unpackb(payload)
    pairs = [(name, content) for name, content in headers]
    bytes_or_none = {type(key), type(value), *(type(content) for _, content in pairs)}
    texts = {type(name) for name, _ in pairs}
    if type(timestamp) is not int or bytes_or_none - {bytes, type(None)} or texts - {str}:
        raise ValueError("expected a timestamp, and bytes under names")
    return RawRecord(stream, 0, offset, timestamp, key, value, pairs)


class _Cursor:
    """Reads frames from the front to the end of what is complete, and goes on from there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._in_use = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise TopicNotFoundError(
                f"there is no update log at {path}: `streamlsh-kafka produce --update-log` "
                "creates it",
                stream=str(path),
            ) from error
        self._chunk = b""
        self._chunk_at = 0
        header = self._take(0, _HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            self.close()
            raise CorruptUpdateLogError("this is no update log", stream=str(path), byte=0)
        self.identity = uuid.UUID(bytes=header[len(MAGIC) :])
        self.byte = _HEADER_BYTES
        self.offset = 0

    def next(self) -> bytes | None:
        """Return the next complete payload, or ``None`` at the end (or at a torn tail).

        What cannot be used is read once more from the file: the buffer may hold a torn tail that
        an appender has cut off and written over since.
        """
        for attempt in ("from the buffer", "from the file"):
            try:
                payload = self._read_frame()
            except CorruptUpdateLogError:
                if attempt == "from the file":
                    raise
                payload = None
            if payload is not None:
                return payload
            self._chunk = b""
        return None

    def skip(self, offset: int | None) -> None:
        """Go forward to a record's number, or to the end."""
        while offset is None or self.offset < offset:
            if self.next() is None:
                return

    def close(self) -> None:
        with self._in_use:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _read_frame(self) -> bytes | None:
        header = self._take(self.byte, _FRAME.size)
        if len(header) < _FRAME.size:
            return None
        length, length_checksum, checksum = _FRAME.unpack(header)
        if zlib.crc32(header[:4]) != length_checksum:
            # After a power cut a file may have its new length, but zeros for what was in flight.
            if self._rest_is_zero():
                return None
            raise self.damage("a record's length does not match its checksum")
        payload = self._take(self.byte + _FRAME.size, length)
        if len(payload) < length:
            return None
        end = self.byte + _FRAME.size + length
        if zlib.crc32(payload) != checksum:
            with self._opened() as file:
                size = os.fstat(file).st_size
            if end == size:
                return None
            raise self.damage("a record does not match its checksum")
        self.byte = end
        self.offset += 1
        return payload

    def _take(self, start: int, count: int) -> bytes:
        """Return bytes of the file, fewer than ``count`` only if it ends before."""
        at = start - self._chunk_at
        if at < 0 or at + count > len(self._chunk):
            with self._opened() as file:
                self._chunk = os.pread(file, max(count, _READ_BYTES), start)
            self._chunk_at = start
            at = 0
        return self._chunk[at : at + count]

    def _rest_is_zero(self) -> bool:
        start = self.byte
        with self._opened() as file:
            while block := os.pread(file, _READ_BYTES, start):
                if any(block):
                    return False
                start += len(block)
        return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The open file, which no other thread closes meanwhile."""
        with self._in_use:
            if self._file < 0:
                raise SourceClosedError(stream=str(self._path))
            yield self._file

    def damage(self, message: str) -> CorruptUpdateLogError:
        """The error for what stands before the place reached."""
        return CorruptUpdateLogError(message, stream=str(self._path), byte=self.byte)
