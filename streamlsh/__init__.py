"""streamlsh: a nearest-neighbour index that is kept continuously current.

``create`` makes an index, ``writer`` applies batches of updates to it in atomic commits, and
``open`` gives a reader whose every answer comes from exactly one commit.

The names below are loaded when they are first used: importing streamlsh costs next to nothing,
using an index loads the compiled kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlsh.calibrating import calibrate
    from streamlsh.calibration import Calibration
    from streamlsh.config import IndexConfig
    from streamlsh.creating import create
    from streamlsh.errors import StreamLSHError
    from streamlsh.hits import Hits, Item, Plan
    from streamlsh.preparing import PreparedUpdates
    from streamlsh.readers import ReaderInfo
    from streamlsh.reading import Reader
    from streamlsh.reading import open_reader as open  # noqa: A004 - what the library calls it
    from streamlsh.snapshot import Snapshot
    from streamlsh.tuning.choosing import tune
    from streamlsh.tuning.report import TuneReport
    from streamlsh.updates import CommitResult, Delete, Position, Upsert, Upserts, validate_update
    from streamlsh.upgrading import upgrade
    from streamlsh.verifying import VerifyReport
    from streamlsh.warming import warm
    from streamlsh.writing import Writer, writer

    __version__: str

__all__ = [
    "Calibration",
    "CommitResult",
    "Delete",
    "Hits",
    "IndexConfig",
    "Item",
    "Plan",
    "Position",
    "PreparedUpdates",
    "Reader",
    "ReaderInfo",
    "Snapshot",
    "StreamLSHError",
    "TuneReport",
    "Upsert",
    "Upserts",
    "VerifyReport",
    "Writer",
    "calibrate",
    "create",
    "open",
    "tune",
    "upgrade",
    "validate_update",
    "warm",
    "writer",
]

_SOURCES = {
    "Calibration": "calibration",
    "CommitResult": "updates",
    "Delete": "updates",
    "Hits": "hits",
    "IndexConfig": "config",
    "Item": "hits",
    "Plan": "hits",
    "Position": "updates",
    "PreparedUpdates": "preparing",
    "Reader": "reading",
    "ReaderInfo": "readers",
    "Snapshot": "snapshot",
    "StreamLSHError": "errors",
    "TuneReport": "tuning.report",
    "Upsert": "updates",
    "Upserts": "updates",
    "VerifyReport": "verifying",
    "Writer": "writing",
    "calibrate": "calibrating",
    "create": "creating",
    "open": "reading",
    "tune": "tuning.choosing",
    "upgrade": "upgrading",
    "validate_update": "updates",
    "warm": "warming",
    "writer": "writing",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - reading metadata is slow

        return version("streamlsh")
    if name not in _SOURCES:
        raise AttributeError(f"module 'streamlsh' has no attribute {name!r}")
    module = import_module(f"streamlsh.{_SOURCES[name]}")
    value = getattr(module, "open_reader" if name == "open" else name)
    globals()[name] = value
    return value
