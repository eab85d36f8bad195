"""Walking LMDB's trees page by page, to find damage before LMDB follows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.pages import check_leaves
from streamlsh.storage.pages import (
    BIG,
    BRANCH,
    INTEGER_KEYS,
    LEAF,
    MOST_DEPTH,
    NO_PAGE,
    SUBTREE,
    Meta,
    Nodes,
    Pages,
    Tree,
    overflow_pages,
    read_tree,
    rising,
)
from streamlsh.storage.schema import DATABASES

FIRST_PAGE = 2
"""The first that is no meta page."""
_RECORD_BYTES = 48
_MOST_LARGE = 256
"""More large values than a leaf page has room for."""
_PAST_ALL = np.uint64(1 << 52)
"""A page number that no file has, and that can be added to."""

I64 = NDArray[np.int64]
Key = Any
"""Bytes, in the free list an int; ``None`` for no bound."""


class Walk:
    """One walk through the trees of one commit.

    What is held in memory is two numbers for each page of a tree and each large value, and one for
    each free page.

    Args:
        pages: the file.
        meta: the commit's meta page. The commit must be pinned by a read transaction.
        deep: whether to look at the first page of every large value, too. Only writers and
            ``verify`` depend on it, and it may have to come from the disk.
    """

    def __init__(self, pages: Pages, meta: Meta, *, deep: bool) -> None:
        self._pages = pages
        self._end = min(meta.last_page + 1, pages.count)
        self._meta = meta
        self._deep = deep
        self._firsts: list[I64] = []
        self._counts: list[I64] = []
        self._free: list[I64] = []

    def databases(self) -> dict[str, Tree]:
        """The records of the named databases, from the main tree."""
        pages, found = self._pages, {}
        for leaf in self.leaves(self._meta.main):
            for place, key in enumerate(leaf.keys):
                name = key.decode("utf-8", "replace")
                sub = leaf.flags[place] == SUBTREE
                if not sub and name not in DATABASES:
                    continue  # somebody else's
                size = int(leaf.numbers[place])
                pages.require(
                    sub and size == _RECORD_BYTES, f"the record of database {name!r}",
                    f"a tree's {_RECORD_BYTES} bytes", f"{size} bytes",
                )  # fmt: skip
                record = leaf.value(place)
                tree = read_tree(f"database {name!r}", record)
                pages.require(tree.flags == 0, f"flags of {tree.name}", 0, tree.flags)
                found[name] = tree
        return found

    def tree(self, tree: Tree) -> None:
        """Check a tree of which nobody needs the leaves."""
        for _ in self._descend(tree, quickly=True):
            pass

    def leaves(self, tree: Tree) -> Iterator[Nodes]:
        """The leaf pages of a tree, by key; at the end it is checked that its counts are right."""
        return self._descend(tree, quickly=False)

    def _descend(self, tree: Tree, *, quickly: bool) -> Iterator[Nodes]:
        """Check a tree; its leaf pages, but quickly none of them."""
        pages = self._pages
        counts = [0, 0, 0, 0]  # branch pages, leaf pages, overflow pages, entries
        if self._check_record(tree):
            waiting: list[tuple[int, int, Key, Key]] = [(tree.root, 1, None, None)]
            while waiting:
                number, level, low, high = waiting.pop()
                is_leaf = level == tree.depth
                counts[is_leaf] += 1
                self._require_fewer(tree, counts)
                if is_leaf and quickly:
                    self._add_leaves(tree, counts, 0, np.array([number]), [low, high])
                    continue
                if is_leaf:
                    nodes = self._leaf(tree, number, low, high)
                    self._note(np.array([number]), np.array([1]))
                    counts[2] += self._large_values(tree, *_large(nodes))
                    counts[3] += len(nodes.keys)
                    yield nodes
                    continue
                self._require_inside(number, 1, tree)
                nodes = pages.nodes(number, BRANCH, tree.name)
                self._note(np.array([number]), np.array([1]))
                bounds = [low, *self._check_keys(tree, nodes, low, high)[1:], high]
                if quickly and level == tree.depth - 1:
                    counts[1] += len(nodes.numbers)
                    self._require_fewer(tree, counts)
                    self._add_leaves(tree, counts, number, nodes.numbers, bounds)
                else:
                    children = nodes.numbers.tolist()
                    waiting += [
                        (child, level + 1, bounds[place], bounds[place + 1])
                        for place, child in reversed(list(enumerate(children)))
                    ]
        if not self._deep:  # a large value may have kept more pages than its size needs
            counts[2] = max(counts[2], tree.overflow)
        held = (tree.branches, tree.leaves, tree.overflow, tree.entries)
        pages.require(
            held == tuple(counts), f"branch, leaf, overflow pages and entries of {tree.name}",
            held, tuple(counts),
        )  # fmt: skip

    def free_list(self) -> None:
        """Check the free list: pages that are in use, or free twice, must not be given out."""
        pages, last = self._pages, self._meta.last_page
        for leaf in self.leaves(self._meta.free):
            for place, size in enumerate(leaf.numbers.tolist()):
                transaction = int.from_bytes(leaf.keys[place], "little")
                what = f"pages freed by transaction {transaction}"
                pages.require(
                    0 < transaction <= self._meta.transaction, what,
                    f"a transaction up to {self._meta.transaction}", transaction,
                )  # fmt: skip
                value = pages.value(leaf, place)
                words = np.frombuffer(value, np.uint64, size // 8)
                room = len(words) - 1
                pages.require(
                    size % 8 == 0 and room >= 0 and int(words[0]) <= room, what,
                    f"at most {room}", int(words[0]) if len(words) else "none",
                )  # fmt: skip
                freed = words[1 : 1 + int(words[0])]
                if len(freed):
                    pages.require(
                        int(freed.min()) >= FIRST_PAGE and int(freed.max()) <= last, what,
                        f"pages {FIRST_PAGE} to {last}", (int(freed.min()), int(freed.max())),
                    )  # fmt: skip
                    pages.require(
                        bool((freed[1:] < freed[:-1]).all()), what, "falling", "out of order"
                    )
                    self._free.append(freed[::-1].astype(np.int64))

    def freed_pages(self, before: int) -> Iterator[int]:
        """How many free pages each transaction before one has left, from the oldest on."""
        pages = self._pages
        for leaf in self.leaves(self._meta.free):
            for place, size in enumerate(leaf.numbers.tolist()):
                transaction = int.from_bytes(leaf.keys[place], "little")
                if transaction >= before:
                    return
                count = int.from_bytes(pages.value(leaf, place, 8), "little")
                pages.require(
                    size >= 8 * (count + 1), f"pages freed by transaction {transaction}",
                    f"at most {size // 8 - 1}", count,
                )  # fmt: skip
                yield count

    def finish(self) -> None:
        """Check that no page was met twice on the whole walk."""
        firsts = np.concatenate([*self._firsts, np.zeros(0, np.int64)])
        order = firsts.argsort()
        firsts = firsts[order]
        ends = firsts + np.concatenate([*self._counts, np.zeros(0, np.int64)])[order]
        self._require_once("belongs to two trees", firsts[1:], ends[:-1] > firsts[1:])
        for free in self._free:
            place = np.minimum(free.searchsorted(firsts), len(free) - 1)
            self._require_once(
                "is in use and free", firsts, (free[place] >= firsts) & (free[place] < ends)
            )
        if len(self._free) > 1:
            free = np.sort(np.concatenate(self._free), kind="stable")  # quick: runs are sorted
            self._require_once("is free twice", free[1:], free[1:] == free[:-1])

    def _require_once(self, what: str, numbers: I64, twice: NDArray[np.bool_]) -> None:
        if twice.any():
            self._pages.damaged(
                f"a page {what}", "each page once", f"page {numbers[twice.argmax()]} twice"
            )

    def _check_record(self, tree: Tree) -> bool:
        """Whether a tree has pages at all."""
        if tree.root == NO_PAGE:
            self._pages.require(tree.depth == 0, f"depth of {tree.name}", 0, tree.depth)
            return False
        self._pages.require(
            1 <= tree.depth <= MOST_DEPTH, f"depth of {tree.name}", f"1 to {MOST_DEPTH}",
            tree.depth,
        )  # fmt: skip
        return True

    def _require_inside(self, first: int, count: int, tree: Tree) -> None:
        self._pages.require(
            first >= FIRST_PAGE and first + count <= self._end, f"a page of {tree.name}",
            f"within pages {FIRST_PAGE} to {self._end - 1}", f"{count} from page {first}",
        )  # fmt: skip

    def _require_fewer(self, tree: Tree, counts: list[int]) -> None:
        """Check that no more pages were met than there are: a walk in circles would not end."""
        for kind, held, found in (
            ("branch", tree.branches, counts[0]), ("leaf", tree.leaves, counts[1]),
        ):  # fmt: skip
            self._pages.require(found <= held, f"{kind} pages of {tree.name}", held, "more")

    def _note(self, firsts: I64, counts: I64) -> None:
        self._firsts.append(firsts)
        self._counts.append(counts)

    def _leaf(self, tree: Tree, number: int, low: Key, high: Key) -> Nodes:
        """A leaf page, checked."""
        self._require_inside(number, 1, tree)
        nodes = self._pages.nodes(number, LEAF, tree.name)
        self._check_keys(tree, nodes, low, high, first=0)
        self._pages.require(
            tree is self._meta.main or not (nodes.flags == SUBTREE).any(),
            f"page {number}, of {tree.name}: flags of nodes", "values", "a tree",
        )  # fmt: skip
        return nodes

    def _add_leaves(
        self, tree: Tree, counts: list[int], branch: int, numbers: I64, bounds: list[Key]
    ) -> None:
        """Check leaves without handing them out, and count their overflow pages and entries.

        Args:
            tree: whose they are.
            counts: see ``_descend``; changed.
            branch: number of the page above, which is not looked at for a single leaf.
            numbers: (n,) of the leaf pages.
            bounds: the n + 1 keys between which theirs must lie.
        """
        outside = (numbers < FIRST_PAGE) | (numbers >= self._end)
        if outside.any():
            self._require_inside(int(numbers[outside.argmax()]), 1, tree)
        firsts = np.empty(len(numbers) * _MOST_LARGE, np.int64)
        sizes = np.empty(len(firsts), np.int64)
        raw, words = self._pages.arrays
        bad, held, entries = check_leaves(raw, words, branch, numbers, firsts, sizes)
        if bad >= 0:
            self._leaf(tree, int(numbers[bad]), bounds[bad], bounds[bad + 1])
        # The kernel does not know what bounds the branch itself.
        elif bounds[0] is not None:
            self._leaf(tree, int(numbers[0]), bounds[0], bounds[1])
        if bounds[-1] is not None:
            self._leaf(tree, int(numbers[-1]), bounds[-2], bounds[-1])
        self._pages.require(bad < 0, f"a leaf page of {tree.name}", "sound nodes", "others")
        self._note(numbers, np.ones(len(numbers), np.int64))
        counts[2] += self._large_values(tree, firsts[:held], sizes[:held])
        counts[3] += entries

    def _check_keys(
        self, tree: Tree, nodes: Nodes, low: Key, high: Key, first: int = 1
    ) -> list[Any]:
        """The keys of a page as they are compared, from the first one that counts."""
        pages = self._pages
        what = f"page {nodes.page}, of {tree.name}: keys"
        keys: list[Any] = nodes.keys
        if tree.flags & INTEGER_KEYS:
            pages.require(
                all(len(key) == 8 for key in keys[first:]), what, "numbers of 8 bytes", "others"
            )
            keys = [int.from_bytes(key, "little") for key in keys]
        elif first:
            # LMDB itself gives up on a branch with a single child, except in the free list.
            pages.require(len(keys) > 1, what, "two or more", 1)
        used = keys[first:]
        pages.require(rising(used), what, "rising", "out of order")
        if used:
            pages.require(
                (low is None or low <= used[0]) and (high is None or used[-1] < high), what,
                f"from {low!r} to below {high!r}", f"{used[0]!r} to {used[-1]!r}",
            )  # fmt: skip
        return keys

    def _large_values(self, tree: Tree, firsts: I64, counts: I64) -> int:
        """Check where large values are; how many pages they take.

        Args:
            tree: whose they are.
            firsts: (n,) their first pages.
            counts: (n,) the pages that their sizes need.
        """
        if not len(firsts):
            return 0
        inside = (firsts >= FIRST_PAGE) & (firsts + counts <= self._end)
        if not inside.all():
            worst = int(np.argmin(inside))
            self._require_inside(int(firsts[worst]), int(counts[worst]), tree)
        if self._deep:
            held = self._pages.overflow(firsts)
            sound = (held >= counts) & (held <= self._end - firsts)
            if not sound.all():
                worst = int(sound.argmin())
                self._pages.damaged(
                    f"pages of a large value of {tree.name}", f"{counts[worst]}, within the file",
                    int(held[worst]),
                )  # fmt: skip
            counts = held
        self._note(firsts, counts)
        return int(counts.sum())


def _large(leaf: Nodes) -> tuple[I64, I64]:
    """The first pages of a leaf's large values, and how many pages each needs."""
    big = np.flatnonzero(leaf.flags == BIG)
    starts = leaf.values[big][:, None] + np.arange(8)
    numbers = np.frombuffer(leaf.raw, np.uint8)[starts].view(np.uint64).ravel()
    return np.minimum(numbers, _PAST_ALL).astype(np.int64), overflow_pages(leaf.numbers[big])
