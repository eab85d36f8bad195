"""The plots of the page: the size of a file, the times of commits, recall over a runbook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure as Canvas

from tests.bench.plots import COLOURS, MARKERS, OUR_COLOUR, new_canvas, svg_text
from tests.bench.tables import Plot
from tests.churn.changing import BUILT, OURS, REBUILT, RETUNED
from tests.churn.playing import Played

FRESH_COLOUR = "#222222"
PEER_COLOURS = COLOURS | {RETUNED: "#f08a9b", REBUILT: "#f0b429"}
LIMIT = 1.5
BINS = 60


class Sized(Protocol):
    """What the plot of sizes needs of a stage; see ``turnover.Stage``."""

    @property
    def name(self) -> str:
        """Of the work before it."""

    @property
    def file(self) -> int:
        """Bytes."""

    @property
    def used(self) -> int:
        """Bytes."""

    @property
    def fresh_file(self) -> int:
        """Bytes."""


def size_plot(group: str, stages: Sequence[Sized]) -> Plot:
    """The file over the turnovers, with a fresh build's and the limit."""
    canvas, axes = new_canvas()
    fresh = np.array([one.fresh_file for one in stages]) / 2**20
    file, used = ([getattr(one, part) / 2**20 for one in stages] for part in ("file", "used"))
    across = range(len(stages))
    axes.plot(across, file, color=OUR_COLOUR, linewidth=3, marker="o", label="the file")
    axes.plot(across, used, color=OUR_COLOUR, linestyle=":", label="its pages in use")
    axes.plot(across, fresh, color=FRESH_COLOUR, marker="s", label="a fresh build")
    axes.plot(across, LIMIT * fresh, color=FRESH_COLOUR, linestyle="--", label=f"{LIMIT} times it")
    axes.set_xticks(across, [one.name for one in stages], rotation=45, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MiB")
    axes.set_title("The file's size over full turnovers", loc="left")
    axes.legend(loc="lower left", frameon=False)
    caption = "Size of the file after each turnover, beside a fresh build of the same items."
    return Plot(group, "turnover", caption, svg_text(canvas))


def commit_plot(group: str, milliseconds: Sequence[float], kinds: Sequence[str]) -> Plot:
    """Histogram by kind, and the share of commits that took no longer."""
    canvas, axes = new_canvas()
    taken, names = np.array(milliseconds), list(dict.fromkeys(kinds))
    bins = np.geomspace(taken.min(), taken.max() * 1.001, BINS)
    parts = [taken[np.array(kinds) == name] for name in names]
    axes.hist(parts, bins.tolist(), stacked=True, label=names)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("milliseconds a commit of 1,000 updates")
    axes.set_ylabel("commits")
    share = axes.twinx()
    share.plot(np.sort(taken), np.arange(1, len(taken) + 1) / len(taken), color=FRESH_COLOUR)
    share.set_ylim(0, 1.02)
    share.set_ylabel("share that took no longer")
    for place, style in ((np.median(taken), "-"), (5 * np.median(taken), "--")):
        axes.axvline(float(place), color=OUR_COLOUR, linestyle=style, linewidth=1)
    axes.set_title("Times of commits; red: the median, and five times it", loc="left")
    axes.legend(loc="center right", frameon=False)
    caption = "How long commits take, by what they had to do, and the cumulative distribution."
    return Plot(group, "commits", caption, svg_text(canvas))


def recall_plot(group: str, name: str, played: Sequence[Played]) -> Plot:
    """Recall at each search step, one line a peer."""
    canvas, axes = new_canvas()
    for one, marker in zip(played, MARKERS, strict=False):
        across = [search.step for search in one.searches]
        is_ours = one.title == OURS
        axes.plot(
            across, [search.recall for search in one.searches], label=one.title, marker=marker,
            color=PEER_COLOURS.get(one.title, FRESH_COLOUR), linewidth=3.0 if is_ours else 1.3,
            linestyle="--" if one.title in BUILT else "-", zorder=5 if is_ours else 6,
        )  # fmt: skip
    axes.set_xlabel("step of the runbook")
    axes.set_ylabel("recall@10 against what is live")
    axes.set_title(f"Recall over the steps: {name}", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    caption = f"Runbook {name}: recall@10 at each search step, everybody tuned at the first."
    return Plot(group, f"runbook-{name}", caption, svg_text(canvas))


def cost_plot(group: str, name: str, played: Sequence[Played]) -> Plot:
    """Updates/s, memory and file size of those that lived through a runbook, a panel each."""
    lived = [one for one in reversed(played) if one.title not in BUILT]
    kinds = [kind for kind in ("insert", "delete", "replace") if kind in lived[0].updates]
    panels = {f"{kind}s/s": [one.rate(kind) or 0.0 for one in lived] for kind in kinds}
    panels |= {
        "peak memory, MiB": [one.peak / 2**20 for one in lived],
        "of it private, MiB": [one.private / 2**20 for one in lived],
        "file, MiB": [one.file / 2**20 for one in lived],
    }
    canvas = Canvas(figsize=(13.0, 3.4), layout="constrained")
    for axes, (title, values) in zip(
        canvas.subplots(1, len(panels), sharey=True), panels.items(), strict=True
    ):
        colours = [PEER_COLOURS.get(one.title, FRESH_COLOUR) for one in lived]
        bars = axes.barh([one.title for one in lived], values, color=colours)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=2, fontsize=8)
        axes.set_xscale("log" if title.endswith("/s") else "linear")
        axes.margins(x=0.35)
        axes.set_title(title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=7)
    caption = f"Runbook {name}: what updates and their traces cost; updates/s on a scale of powers."
    return Plot(group, f"runbook-{name}-costs", caption, svg_text(canvas))
