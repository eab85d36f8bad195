"""The wire format of updates: Kafka records to and from `Upsert` and `Delete`.

``docs/wire-format.md`` is the specification. In short: the key is the item id in UTF-8, a null
value is a delete, any other value is a map with ``vector`` and optionally ``version``, ``tags``
and ``attributes``, in MessagePack, or in JSON if the header ``content-type`` says so.

Whatever the bytes are, decoding ends in an update or in a `DecodeError`. What needs the index's
configuration (dimension, NaN, lengths of ids) is checked by the library when the update is
staged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamlsh import Delete, Upsert
from streamlsh_kafka.errors import DecodeError
from streamlsh_kafka.source import Headers, Record

CONTENT_TYPE: Final = "content-type"
"""Header that names the encoding of the value."""
JSON_TYPE: Final = "application/json"
MSGPACK_TYPE: Final = "application/msgpack"
VERSION_HEADER: Final = "version"
"""Header that gives a delete its version: an integer in ASCII digits."""

MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
MAX_VECTOR_ELEMENTS: Final = 65_536
MAX_STRING_BYTES: Final = 1024 * 1024
MAX_ARRAY_ITEMS: Final = 65_536
MAX_MAP_FIELDS: Final = 4_096
MAX_DEPTH: Final = 16
"""Maps and arrays inside each other, the outermost included."""

_FIELDS: Final = frozenset({"vector", "version", "tags", "attributes"})
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_UINT64_MAX: Final = 2**64 - 1
_SCALARS: Final = frozenset({type(None), bool, float, str, bytes})
_MAX_VERSION_DIGITS: Final = 20
WIRE_FLOAT: Final = np.dtype("<f4")


def decode_update(record: Record) -> Upsert | Delete:
    """Decode one record of the wire format.

    Raises:
        DecodeError: the record does not follow the format; ``reason`` says how.
    """
    item_id = _decode_id(record.key)
    value = record.value
    if value is None:
        return Delete(item_id, _delete_version(record.headers))
    if len(value) > MAX_VALUE_BYTES:
        raise DecodeError(
            "value-too-large", f"expected at most {MAX_VALUE_BYTES} bytes, received {len(value)}"
        )
    # Most records carry no header at all, and then this is the only test they cost.
    if record.headers and _is_json(record.headers):
        fields = _parse_json(value)
    else:
        fields = _parse_msgpack(value)
    return _to_upsert(item_id, fields)


def encode_update(
    update: Upsert | Delete, *, encoding: str = "msgpack"
) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    """Encode an update as key, value and headers of a Kafka record.

    Args:
        update: what to encode; a delete has the value ``None``.
        encoding: ``msgpack`` or ``json``.

    Raises:
        ValueError: an unknown encoding.
    """
    key = update.id.encode("utf-8")
    if isinstance(update, Delete):
        version = update.version
        return key, None, [] if version is None else [(VERSION_HEADER, str(version).encode())]
    fields: dict[str, Any] = {}
    if update.version is not None:
        fields["version"] = update.version
    if update.tags:
        fields["tags"] = list(update.tags)
    if update.attributes is not None:
        fields["attributes"] = dict(update.attributes)
    vector = np.ascontiguousarray(update.vector, dtype=WIRE_FLOAT)
    if encoding == "msgpack":
        return key, msgpack.packb({"vector": vector.tobytes(), **fields}), []
    if encoding == "json":
        text = json.dumps({"vector": vector.tolist(), **fields}, ensure_ascii=False)
        return key, text.encode("utf-8"), [(CONTENT_TYPE, JSON_TYPE.encode())]
    raise ValueError(f"unknown encoding: expected msgpack or json, received {encoding!r}")


def _decode_id(key: bytes | None) -> str:
    if not key:
        raise DecodeError("no-key", "expected the item id as the record's key, received none")
    try:
        return str(key, "utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("bad-key", f"expected UTF-8, received {key[:32]!r} ({error})") from error


def _is_json(headers: Headers) -> bool:
    """Whether the (last) content type is JSON; parameters like a charset are allowed."""
    kind = MSGPACK_TYPE
    for name, value in headers:
        if name.lower() == CONTENT_TYPE:
            kind = str(value or b"", "latin-1").partition(";")[0].strip().lower()
    if kind == JSON_TYPE:
        return True
    if kind in (MSGPACK_TYPE, "application/x-msgpack", "application/vnd.msgpack"):
        return False
    raise DecodeError(
        "content-type", f"expected {MSGPACK_TYPE} or {JSON_TYPE}, received {kind[:64]!r}"
    )


def _delete_version(headers: Headers) -> int | None:
    version: int | None = None
    for name, value in headers:
        if name != VERSION_HEADER:
            continue
        text = str(value or b"", "latin-1")
        digits = text.removeprefix("-")
        # int() also takes spaces, underscores, a plus sign and other alphabets' digits.
        if not (digits.isascii() and digits.isdigit() and len(digits) < _MAX_VERSION_DIGITS):
            raise DecodeError(
                "bad-version", f"expected an ASCII integer in the header, received {text[:32]!r}"
            )
        version = _int64(int(text))
    return version


def _int64(number: object) -> int:
    if type(number) is not int:
        raise DecodeError(
            "bad-version", f"expected an integer version, received {type(number).__name__}"
        )
    if not INT64_MIN <= number <= INT64_MAX:
        raise DecodeError("bad-version", "expected a signed 64-bit version, received a larger one")
    return number


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Build a map, refusing a key that comes twice: which one counts would be a guess."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DecodeError("duplicate-field", "expected every key of a map once")
    return fields


def _parse_msgpack(value: bytes) -> Any:
    try:
        _check_whole(value)
        return msgpack.unpackb(
            value,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            ext_hook=_refuse_extension,
            max_str_len=MAX_STRING_BYTES,
            max_bin_len=MAX_STRING_BYTES,
            max_array_len=MAX_ARRAY_ITEMS,
            max_map_len=MAX_MAP_FIELDS,
            max_ext_len=1024,
        )
    except DecodeError:
        raise
    except msgpack.ExtraData as error:
        raise DecodeError("trailing-bytes", "expected one map and nothing after it") from error
    except msgpack.StackError as error:
        raise DecodeError("too-deep", f"expected at most {MAX_DEPTH} levels") from error
    except msgpack.OutOfData as error:
        raise DecodeError(
            "bad-msgpack", "expected a whole value, received a part of one"
        ) from error
    # msgpack reports damage as ValueError (and its own subclasses), a map key that cannot be one
    # as TypeError, and a timestamp outside of the calendar as OverflowError.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        detail = str(error) or type(error).__name__
        raise DecodeError("bad-msgpack", detail[:200]) from error


def _check_whole(value: bytes) -> None:
    """Raise ``msgpack.OutOfData`` unless all that the value announces is there.

    Building a value takes memory for what every array announces as soon as it begins: arrays in
    each other could claim megabytes with a few bytes each. Skipping over it takes none.
    """
    # Without a size, or with 0, the unpacker makes room for a megabyte.
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(value), 1))
    unpacker.feed(value)
    unpacker.skip()


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise DecodeError("bad-msgpack", f"expected no extension type, received {code}")


def _parse_json(value: bytes) -> Any:
    try:
        text = value.decode("utf-8")
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:
            # Half of a surrogate pair can be escaped in JSON, but is no text: encoding finds it.
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
        return fields
    except DecodeError:
        raise
    except RecursionError as error:
        raise DecodeError("too-deep", f"expected at most {MAX_DEPTH} levels") from error
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            raise DecodeError("trailing-bytes", "expected one map and nothing after it") from error
        raise DecodeError("bad-json", str(error)[:200]) from error


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError("bad-json", f"expected numbers that JSON knows, received {name}")


def _to_upsert(item_id: str, fields: Any) -> Upsert:
    if type(fields) is not dict:
        raise DecodeError("not-a-map", f"expected a map, received {type(fields).__name__}")
    if not fields.keys() <= _FIELDS:
        unknown = ", ".join(sorted(str(name)[:32] for name in fields.keys() - _FIELDS))
        raise DecodeError(
            "unknown-field", f"expected {', '.join(sorted(_FIELDS))}, received {unknown[:200]}"
        )
    if "vector" not in fields:
        raise DecodeError("no-vector", "expected a field named vector")
    vector = _to_vector(fields["vector"])
    if len(fields) == 1:
        return Upsert(item_id, vector)
    version = fields.get("version")
    return Upsert(
        item_id,
        vector,
        None if version is None else _int64(version),
        _to_tags(fields.get("tags")),
        _to_attributes(fields.get("attributes")),
    )


def _to_vector(field: object) -> NDArray[np.float32]:
    if type(field) is bytes:
        if not field or len(field) % 4:
            raise DecodeError(
                "bad-vector",
                f"expected float32 values of 4 bytes each, received {len(field)} bytes",
            )
        _check_elements(len(field) // 4)
        return np.frombuffer(field, dtype=WIRE_FLOAT)
    if type(field) is not list:
        raise DecodeError(
            "bad-vector", f"expected bytes or an array of numbers, received {type(field).__name__}"
        )
    if not field:
        raise DecodeError("bad-vector", "expected numbers, received an empty array")
    _check_elements(len(field))
    # bool is an int to Python, but not a number to whoever wrote `true` into a vector.
    if not set(map(type, field)) <= {float, int}:
        raise DecodeError("bad-vector", "expected an array of numbers and nothing else in it")
    try:
        # What becomes infinite, and signalling NaN, the library refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(field, dtype=np.float64).astype(WIRE_FLOAT)
    except OverflowError as error:
        raise DecodeError("bad-vector", "expected numbers that fit a float") from error


def _check_elements(count: int) -> None:
    if count > MAX_VECTOR_ELEMENTS:
        raise DecodeError(
            "bad-vector", f"expected at most {MAX_VECTOR_ELEMENTS} elements, received {count}"
        )


def _to_tags(field: object) -> tuple[str, ...]:
    if field is None:
        return ()
    if type(field) is not list or not set(map(type, field)) <= {str}:
        raise DecodeError("bad-tags", "expected an array of strings")
    return tuple(field)


def _to_attributes(field: object) -> Mapping[str, Any] | None:
    if field is None:
        return None
    if type(field) is not dict:
        raise DecodeError("bad-attributes", f"expected a map, received {type(field).__name__}")
    # The value's own map is the first level.
    _check_tree(field, MAX_DEPTH - 1)
    return field


def _check_tree(node: object, levels: int) -> None:
    """Refuse what nests too deep, and what not every producer and reader can represent."""
    kind = type(node)
    if kind is dict or kind is list:
        if levels == 0:
            raise DecodeError("too-deep", f"expected at most {MAX_DEPTH} levels")
        if type(node) is dict and not set(map(type, node)) <= {str}:
            raise DecodeError("bad-attributes", "expected strings as keys of maps")
        children: Any = node.values() if type(node) is dict else node
        for child in children:
            _check_tree(child, levels - 1)
    elif kind is int:
        if not INT64_MIN <= cast("int", node) <= _UINT64_MAX:
            raise DecodeError("bad-attributes", "expected integers of at most 64 bits")
    elif kind not in _SCALARS:
        raise DecodeError("bad-attributes", f"expected plain values, received {kind.__name__}")
