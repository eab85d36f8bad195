"""The pages of LMDB's file, read and checked without LMDB.

LMDB trusts its file: a page number, an offset or a size that damage has changed would take the
process down, not raise an error. So what it would follow is read here first, from the layout of
LMDB 0.9 on 64-bit little-endian machines:

- every page has a header of 16 bytes: its number u64, 2 bytes unused, flags u16, then where its
  free space begins and ends, u16 each (for an overflow page: how many pages follow on, u32);
- pages 0 and 1 are *meta pages*; transaction N writes page N mod 2. They hold the roots of two
  trees: the free list, and the main tree, whose values are the roots of the named databases;
- a *branch* or *leaf* page has after its header the offsets (u16) of its nodes, which fill it from
  its end. A node is two u16, flags u16, size of the key u16, the key, and in a leaf the value. The
  two u16 (and in a branch the flags too) are the number of the child page, or the value's size;
- a value that does not fit is on *overflow pages*, and the node holds the number of the first.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from operator import lt
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import CorruptIndexError

PAGE_BYTES = 4096
"""Size of a page that the layout of values counts on; see ``schema.IN_PLACE``."""

BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
"""Flags of a page."""
BIG, SUBTREE = 1, 2
"""Flags of a leaf's node: the value is on overflow pages; it is the root of a named database."""
INTEGER_KEYS = 8
"""Flag of a tree: keys are native numbers. Only the free list has it."""
ORDERING = 0x7F
"""The flags of a tree that say how keys and values are compared; LMDB aborts where they lie."""
NO_PAGE = 2**64 - 1
"""The root of an empty tree."""
MOST_DEPTH = 32
"""LMDB follows no deeper tree."""
MOST_KEY = 511
MAX_VALUE = 2**32 - 1

_PAGE = struct.Struct("<QHHHH")
_META = struct.Struct("<IIQQ")
_META_END = struct.Struct("<QQ")
_TREE = struct.Struct("<IHHQQQQQ")
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_META_BYTES = _PAGE.size + _META.size + 2 * _TREE.size + _META_END.size
_NODE = 8
_NODE_WORDS = np.arange(4)
_PAGE_WORDS = PAGE_BYTES // 4

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """The record of one B-tree.

    Attributes:
        name: of the database; of the two unnamed trees, what they are.
        flags: of the database.
        depth: levels of pages, 0 for an empty tree.
        branches: its branch pages.
        leaves: its leaf pages.
        overflow: its overflow pages.
        entries: its keys.
        root: number of its root page.
    """

    name: str
    flags: int
    depth: int
    branches: int
    leaves: int
    overflow: int
    entries: int
    root: int


@dataclass(frozen=True, slots=True)
class Meta:
    """A meta page.

    Attributes:
        transaction: the LMDB transaction that wrote it.
        page_bytes: size of the file's pages.
        map_bytes: size of the memory map.
        last_page: the last page in use.
        free: the tree of free pages, by the transaction that freed them.
        main: the tree of the named databases.
    """

    transaction: int
    page_bytes: int
    map_bytes: int
    last_page: int
    free: Tree
    main: Tree


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of one branch or leaf page, in order.

    Attributes:
        page: the page's number.
        keys: (n,) the keys; a branch's first is not used.
        flags: (n,) of a leaf's nodes, 0 for a branch's.
        numbers: (n,) the child pages of a branch; the sizes of a leaf's values.
        values: (n,) where the values (for big ones, their page numbers) begin in the page.
        raw: the page's bytes.
    """

    page: int
    keys: list[bytes]
    flags: I64
    numbers: I64
    values: I64
    raw: bytes

    def value(self, place: int) -> bytes:
        """A value that is in the page itself."""
        start = int(self.values[place])
        return self.raw[start : start + int(self.numbers[place])]


def overflow_pages(sizes: I64) -> I64:
    """How many overflow pages values of these sizes take."""
    return (sizes + _PAGE.size - 1) // PAGE_BYTES + 1


def read_tree(name: str, record: bytes) -> Tree:
    """A tree's record, as stored in a meta page or in the main tree."""
    _, *fields = _TREE.unpack(record)
    return Tree(name, *fields)


class Pages:
    """The file's pages, mapped for reading.

    Attributes:
        path: of the file.
        count: whole pages that the file has now.
        arrays: the bytes of these, and the same as 16-bit words.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, 2)
            self.count = size // PAGE_BYTES
            self._size = size
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if size else b""
        whole = np.frombuffer(self._map, np.uint8, self.count * PAGE_BYTES)
        self.arrays = whole, whole.view(np.uint16)

    def damaged(self, what: str, expected: object, received: object) -> NoReturn:
        """Raise ``CorruptIndexError``."""
        raise CorruptIndexError(
            f"{self.path} is damaged or no LMDB file: {what}. Restore it from a "
            "copy, or rebuild the index from its topic or export",
            expected=expected, received=received,
        )  # fmt: skip

    def require(self, sound: bool, what: str, expected: object, received: object) -> None:
        """Raise ``CorruptIndexError`` unless something is sound."""
        if not sound:
            self.damaged(what, expected, received)

    def meta(self, number: int) -> Meta:
        """Meta page 0 or 1, checked as far as that goes without the pages it names."""
        what = f"meta page {number}"
        # The size of pages is said in the first meta page; that the second is there with it.
        start = number * (self.meta(0).page_bytes if number else 0)
        end = start + _META_BYTES
        self.require(self._size >= end, "it was cut short", f"{end} bytes or more", self._size)
        raw = self._map[start:end]
        page, _, flags, _, _ = _PAGE.unpack_from(raw)
        self.require((page, flags) == (number, META), what, (number, META), (page, flags))
        magic, version, address, map_bytes = _META.unpack_from(raw, _PAGE.size)
        self.require(
            (magic, version, address) == (_MAGIC, _VERSION, 0), f"{what} is none of LMDB 0.9",
            (_MAGIC, _VERSION, 0), (magic, version, address),
        )  # fmt: skip
        at = _PAGE.size + _META.size
        page_bytes: int = _TREE.unpack_from(raw, at)[0]
        free = read_tree("the free list", raw[at : at + _TREE.size])
        main = read_tree("the main tree", raw[at + _TREE.size : at + 2 * _TREE.size])
        for tree, wanted in ((free, INTEGER_KEYS), (main, 0)):
            self.require(
                tree.flags & ORDERING == wanted, f"{what}: flags of {tree.name}", wanted, tree.flags
            )
        last, transaction = _META_END.unpack_from(raw, at + 2 * _TREE.size)
        self.require(
            512 <= page_bytes <= 1 << 16 and page_bytes & (page_bytes - 1) == 0,
            f"{what}: size of pages", "a power of two", page_bytes,
        )  # fmt: skip
        self.require(
            last >= 1 and (last + 1) * page_bytes <= map_bytes < 2**62,
            f"{what}: the last page must lie in the memory map", f"below {map_bytes} bytes",
            f"page {last}",
        )  # fmt: skip
        self.require(
            transaction % 2 == number or transaction == 0, f"{what}: transaction",
            "an odd number" if number else "an even number", transaction,
        )  # fmt: skip
        return Meta(transaction, page_bytes, map_bytes, last, free, main)

    def nodes(self, number: int, kind: int, what: str) -> Nodes:
        """A branch or leaf page, checked for itself.

        Args:
            number: of the page, which must be within the file.
            kind: ``BRANCH`` or ``LEAF``: what it must be.
            what: the tree that it belongs to, for errors.
        """
        start = number * PAGE_BYTES
        raw = self._map[start : start + PAGE_BYTES]
        page, _, flags, lower, upper = _PAGE.unpack_from(raw)
        what = f"page {number}, of {what}"
        self.require(page == number, f"{what}: its number", number, page)
        self.require(flags == kind, f"{what}: its kind", kind, flags)
        least = _PAGE.size + 2
        self.require(
            least <= lower <= upper <= PAGE_BYTES and lower % 2 == 0, f"{what}: its free space",
            f"within bytes {least} to {PAGE_BYTES}", (lower, upper),
        )  # fmt: skip
        words = np.frombuffer(raw, np.uint16)
        offsets = words[_PAGE.size // 2 : lower // 2].astype(np.int64)
        if (offsets & 1).any() or offsets.max() > PAGE_BYTES - _NODE:
            self.damaged(
                f"{what}: offsets of nodes", f"even, up to {PAGE_BYTES - _NODE}", offsets.tolist()
            )
        fields = words[(offsets >> 1)[:, None] + _NODE_WORDS].astype(np.int64)
        key_sizes = fields[:, 3]
        numbers = fields[:, 0] | fields[:, 1] << 16
        values = offsets + (_NODE + key_sizes)
        if kind == BRANCH:
            numbers |= fields[:, 2] << 32
            node_flags, ends = np.zeros_like(numbers), values
        else:
            node_flags = fields[:, 2]
            ends = values + np.where(node_flags == BIG, 8, numbers)
            if node_flags.max() > SUBTREE:  # a combination of flags is for duplicates only
                self.damaged(f"{what}: flags of nodes", f"0 to {SUBTREE}", node_flags.tolist())
        # Nodes fill the page from its end without a gap, each to an even length.
        order = offsets.argsort()
        firsts = offsets[order]
        lasts = ends[order] + 1 & ~1
        if firsts[0] != upper or lasts[-1] != PAGE_BYTES or (firsts[1:] != lasts[:-1]).any():
            self.damaged(
                f"{what}: lengths of nodes", f"such as fill bytes {upper} to {PAGE_BYTES}",
                [*zip(firsts.tolist(), lasts.tolist(), strict=True)],
            )  # fmt: skip
        least_key = 1 if kind == LEAF else 0
        if key_sizes.min() < least_key or key_sizes.max() > MOST_KEY:
            self.damaged(f"{what}: sizes of keys", f"{least_key} to {MOST_KEY}", key_sizes.tolist())
        starts = (offsets + _NODE).tolist()
        keys = [raw[a:b] for a, b in zip(starts, values.tolist(), strict=True)]
        return Nodes(number, keys, node_flags, numbers, values, raw)

    def overflow(self, numbers: I64) -> I64:
        """How many pages large values have, as their first ones say; these must be in the file."""
        words = self.arrays[1].view(np.uint32)
        headers = words[(numbers * _PAGE_WORDS)[:, None] + np.arange(4)].astype(np.int64)
        sound = (headers[:, 0] | headers[:, 1] << 32 == numbers) & (headers[:, 2] >> 16 == OVERFLOW)
        if not sound.all():
            self.damaged(
                f"page {numbers[sound.argmin()]}: its number and kind", "those of a large value",
                headers[sound.argmin()].tolist(),
            )  # fmt: skip
        counts: I64 = headers[:, 3]
        return counts

    def value(self, leaf: Nodes, place: int, most: int = MAX_VALUE) -> bytes:
        """A leaf's value, wherever it is, or its first bytes; a large one must be in the file."""
        if leaf.flags[place] != BIG:
            return leaf.value(place)[:most]
        start = int(leaf.values[place])
        number = int.from_bytes(leaf.raw[start : start + 8], "little")
        first = number * PAGE_BYTES + _PAGE.size
        return self._map[first : first + min(int(leaf.numbers[place]), most)]


def rising(keys: Sequence[bytes] | Sequence[int]) -> bool:
    """Whether each key sorts after the one before."""
    return all(map(lt, keys, keys[1:]))
