"""How much memory this process holds for itself."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def private_bytes() -> int | None:
    """Resident anonymous memory after what is free was given back; ``None`` where unknown.

    Pages of files, such as an index that is mapped, do not count: they belong to the page cache,
    which every process shares and the system may take back.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^RssAnon:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1_024 if match else None
