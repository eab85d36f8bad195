"""Items and positions as JSON, the same in every command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlsh


def item_fields(item: streamlsh.Item) -> dict[str, Any]:
    """An item as ``export`` writes it and ``load`` reads it; the numbers are exact."""
    return {
        "id": item.id,
        "vector": item.vector.tolist(),
        "version": item.version,
        "tags": list(item.tags),
        "attributes": item.attributes,
    }


def position_fields(positions: Iterable[streamlsh.Position]) -> list[dict[str, Any]]:
    """Source positions, in the order of stream and partition."""
    return [
        {"stream": position.stream, "partition": position.partition, "offset": position.offset}
        for position in sorted(positions, key=lambda each: (each.stream, each.partition))
    ]
