"""A file cut short, a byte flipped anywhere in it: a typed error, never a crash or a hang.

``STREAMLSH_FLIPS`` is how many bytes are flipped, spread evenly over all regions of the file; a
quarter as many pages are lost or written in another's place.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlsh.buckets.layout import BLOCK, LANES
from streamlsh.storage.pages import PAGE_BYTES
from streamlsh.storage.schema import DATA, PAD
from tests.integration.processes import ROOT

FLIPS = int(os.environ.get("STREAMLSH_FLIPS", "60"))
HEADER = 64
"""Bytes at the start of a page that are flipped more often: they say where everything else is."""
VALUE = 16 + PAD
"""Where the content of a large value begins in its first page: LMDB has a header there."""


class Trials:
    """A process that damages copies of an index and tells how reading and writing them end."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.damaging", str(path)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.regions: dict[str, list[list[int]]] = json.loads(self._process.stdout.readline())
        self.content = (path / DATA).read_bytes()

    def flip(self, region: str, place: int, bit: int) -> dict[str, str]:
        value = bytes([self.content[place] ^ 1 << bit])
        return self.change(region, place, value)

    def change(self, region: str, place: int, value: bytes) -> dict[str, str]:
        """How reading an index ends whose bytes were changed at a place."""
        return self._trial([region, place, value.hex(), None])

    def cut(self, length: int) -> dict[str, str]:
        return self._trial(["cut", 0, "", length])

    def _trial(self, trial: list[Any]) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(trial), file=self._process.stdin, flush=True)
        *same, ends, wrote = json.loads(self._process.stdout.readline())
        assert same == trial
        assert isinstance(ends, dict), f"reading {trial}: {ends}"
        bad = ("DIED", "HANGS", "UNTYPED")
        assert not wrote.startswith(bad), f"writing {trial}: {wrote}"
        return ends

    def end(self) -> None:
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    found = Trials(tmp_path_factory.mktemp("damaged") / "index")
    yield found
    found.end()


def unnoticed(ends: dict[str, str]) -> list[str]:
    """Which answers are others than those of the sound index, if `verify` says nothing of it."""
    if ends.get("verify") == "ok":
        return [name for name, end in ends.items() if end == "another answer"]
    return []


@pytest.mark.timeout(60 + 20 * FLIPS)
def test_a_flipped_bit_is_found_or_harmless_wherever_it_is(trials: Trials) -> None:
    choice = random.Random(FLIPS)
    names = sorted(trials.regions)
    found = dict.fromkeys(names, 0)
    for number in range(FLIPS):
        name = names[number % len(names)]
        first, count = choice.choice(trials.regions[name])
        inside = HEADER if count > HEADER and choice.random() < 0.4 else count
        place, bit = first + choice.randrange(inside), choice.randrange(8)
        ends = trials.flip(name, place, bit)
        where = f"bit {bit} of byte {place}, byte {place - first} of a piece of {name}"
        assert not unnoticed(ends), f"{where}: other answers, and nothing says so: {ends}"
        found[name] += set(ends.values()) != {"ok"}
    if 3 * len(names) <= FLIPS:
        assert sum(found.values()) > FLIPS / 5, f"hardly any flip was noticed: {found}"


@pytest.mark.timeout(60 + 20 * FLIPS)
def test_a_page_that_was_lost_or_written_elsewhere_is_found_or_harmless(trials: Trials) -> None:
    """It is zeros, or in part, or what another page holds: what disks do."""
    choice = random.Random(FLIPS)
    names = sorted(trials.regions)
    content = trials.content
    noticed = 0
    for number in range(FLIPS // 4):
        name = names[number * 7 % len(names)]
        first, count = choice.choice(trials.regions[name])
        place = first // PAGE_BYTES * PAGE_BYTES
        place += PAGE_BYTES * choice.randrange(-(-count // PAGE_BYTES))
        other = PAGE_BYTES * choice.randrange(len(content) // PAGE_BYTES)
        page = content[place : place + PAGE_BYTES]
        half = PAGE_BYTES // 2
        new = choice.choice([
            bytes(PAGE_BYTES), page[:half] + bytes(half), content[other : other + PAGE_BYTES]
        ])  # fmt: skip
        ends = trials.change(name, place, new)
        assert not unnoticed(ends), f"page {place // PAGE_BYTES} of {name} became {new!r}: {ends}"
        noticed += set(ends.values()) != {"ok"}
    assert noticed > FLIPS / 8


def test_a_file_that_was_cut_short_is_refused_or_whole(trials: Trials) -> None:
    """At any length: between pages, within one, within the meta pages, nothing left."""
    size = len(trials.content)
    choice = random.Random(1)
    lengths = {0, 1, 100, 4095, 4096, 4200, 8191, 8192, size - 1, size - 4096, size - 15 * 4096}
    lengths |= {choice.randrange(size) for _ in range(8)}
    for length in sorted(lengths):
        ends = trials.cut(length)
        if length < size - 16 * 4096:
            assert ends["open"].startswith("CorruptIndexError"), f"{length} bytes: {ends}"
        else:
            assert not unnoticed(ends), f"{length} bytes: {ends}"


def test_a_large_value_is_not_looked_for_where_it_is_not(trials: Trials) -> None:
    """Within another tree, another value, or its own; in a meta page; past the end of the file."""
    regions, last = trials.regions, len(trials.content) // PAGE_BYTES
    own = {name.split(":")[0] for name in regions if name.endswith(": page numbers")}
    assert {"blocks", "strips", "names", "name_strips", "live", "tail", "segments"} <= own
    for name in sorted(own):
        place, _ = regions[f"{name}: page numbers"][0]
        first, count = regions[f"{name}: values"][0]
        other = "segments" if name == "blocks" else "blocks"
        pages = [
            regions[there][-1][0] // PAGE_BYTES for there in ("items: tree", f"{other}: values")
        ]
        pages += [1, last, 1 << 40]
        pages += [first // PAGE_BYTES + 1] * (count > PAGE_BYTES)
        for page in pages:
            ends = trials.change(name, place, page.to_bytes(8, "little"))
            where = f"a value of {name} at page {page} of {last}: {ends}"
            found = ends["verify"] if "verify" in ends else ends["open"]
            assert found.startswith(("CorruptIndexError", "FamilyDigestError")), where


def test_an_id_that_ends_past_its_block_does_not_end_the_process(trials: Trials) -> None:
    """Its length came out as gigabytes, or below zero, and was copied."""
    for first, _ in trials.regions["names: values"][:3]:
        for row in (0, 7, 30):
            ends = trials.change("names: values", first + VALUE + 4 * row + 3, b"\x7f")
            assert ends["verify"].startswith("CorruptIndexError")


def test_an_entry_of_a_slot_that_was_never_given_does_not_end_the_process(
    trials: Trials,
) -> None:
    """The live bitmap was read past its last page, by queries and by merges."""
    first, _ = trials.regions["tail: values"][0]
    found = 0
    for lane in range(0, LANES, 3):
        place = first + VALUE + BLOCK.itemsize - 4 * (LANES - lane)
        ends = trials.change("tail: values", place, b"\xff\xff\xff\xff")
        found += ends["verify"].startswith("CorruptIndexError")
    assert found


def test_a_directory_out_of_bounds_is_refused_when_it_is_first_used(trials: Trials) -> None:
    sizes = trials.regions["segments: values"]
    refused = 0
    for first, _ in sizes:
        ends = trials.change("segments: values", first + VALUE, b"\xff\xff\xff\xff")
        refused += ends["length"].startswith("CorruptIndexError: the directory")
        if refused:
            break
    assert refused
