"""The machine and the versions that figures belong to; no names of hosts, no paths."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = (
    "streamlsh", "numpy", "numba", "lmdb", "msgpack", "kafka-python", "hnswlib", "scann",
    "faiss-cpu", "scalable-vs", "usearch", "redis",
)  # fmt: skip
SYNCS = 20


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures were measured.

    Attributes:
        cpu: model of the processor.
        cores: how many this process may use.
        memory_gib: of the machine.
        system: operating system and architecture.
        file_system: that the indexes are on.
        sync_ms: median time of making one page durable there.
        python: version.
        packages: version of each library.
    """

    cpu: str
    cores: int
    memory_gib: float
    system: str
    file_system: str
    sync_ms: float
    python: str
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class Unrest:
    """How much others used the machine.

    Attributes:
        load: average number of runnable processes in the minute before the run.
        stolen: share of processor time that the hypervisor gave to others during the run.
    """

    load: float
    stolen: float | None


def describe_machine(scratch: Path) -> Machine:
    """Look at this machine, and at the disk that ``scratch`` is on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        _cpu_model(),
        len(os.sched_getaffinity(0)),
        round(memory / 2**30, 1),
        f"{platform.system()}, {platform.machine()}",
        file_system_of(scratch),
        _sync_milliseconds(scratch),
        platform.python_version(),
        {name: found for name in PACKAGES if (found := _version(name))},
    )


class UnrestMeter:
    """Watches the machine from its creation on."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._before = _processor_ticks()

    def read(self) -> Unrest:
        """What was seen so far."""
        after = _processor_ticks()
        stolen = None
        if self._before is not None and after is not None:
            total = sum(after) - sum(self._before)
            stolen = (after[7] - self._before[7]) / total if total else 0.0
        return Unrest(self._load, stolen)


def file_system_of(path: Path) -> str:
    """Type of the file system that a path is on."""
    found = ("", "unknown")
    try:
        table = Path("/proc/self/mounts").read_text(encoding="utf-8")
    except OSError:
        return found[1]
    for line in table.splitlines():
        _, point, kind, *_ = line.split(" ")
        if path.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def _sync_milliseconds(folder: Path) -> float:
    samples = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(1_000 * (time.perf_counter() - started))
    return round(float(np.median(samples)), 3)


def _processor_ticks() -> list[int] | None:
    """The counters of /proc/stat without the guests', which are contained in the others."""
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return None
    return [int(field) for field in first.split()[1:9]]
