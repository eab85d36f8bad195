"""The pictures of the page, as SVG that is the same for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tests.bench.outcomes import GROUP, OURS
from tests.bench.racing import Race
from tests.bench.tables import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUR_COLOUR = "#c8102e"
INK = "#333333"
COLOURS = {
    "streamlsh": OUR_COLOUR,
    "streamlsh crosspolytope": "#f08a9b",
    "hnswlib": "#222222",
    "ScaNN": "#1f6fd0",
    "SVS Vamana int8, re-ranked": "#0b8457",
    "SVS Vamana float16": "#66bb8a",
    "faiss HNSW32,SQ8": "#7b4fa3",
    "faiss IVF,PQ fast scan": "#d97706",
    "faiss IVF,RaBitQ fast scan": "#e8b339",
    "faiss IVF,Flat": "#a3763b",
    "usearch f16": "#5a8f9e",
    "plain LSH (numpy)": "#8c8c8c",
    "LSH in Redis": "#b8b8b8",
    "streamlsh, every sketch": "#f08a9b",
    "streamlsh, exact": "#d9a0aa",
    "exact scan (numpy)": "#666666",
}
MARKERS = "os^Dv<>Pph*X"
SIZE = (9.0, 5.4)


def curve_plot(run: Race) -> Plot:
    """Recall against queries a second, one line a peer, one query a call."""
    canvas, axes = new_canvas()
    titles = list(dict.fromkeys(one.peer.title for one in run.contestants if not one.threads))
    lines = {
        title: sorted(
            (one.recall, 1e6 / one.spread.middle)
            for one in run.contestants
            if one.peer.title == title and not one.threads
        )
        for title in titles
    }
    titles.sort(key=lambda title: -max(rate for _, rate in lines[title]))
    for number, title in enumerate(titles):
        recalls, rates = zip(*lines[title], strict=True)
        _line(axes, title, recalls, rates, MARKERS[number % len(MARKERS)])
    axes.set_yscale("log")
    axes.set_xlim(0.79, 1.005)
    axes.set_xlabel("recall@10 on queries that chose nothing")
    axes.set_ylabel("queries a second, one thread")
    with_thousands(axes.yaxis)
    axes.set_title(f"{run.dataset.name}: {len(run.dataset):,} items, one query a call", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    name = "curve-" + "-".join(run.dataset.name.split())
    caption = f"Recall and speed on {run.dataset.name}; up and to the right is better."
    return Plot(GROUP, name, caption, svg_text(canvas))


def growth_plot(
    group: str, sizes: Sequence[int], lines: dict[str, Sequence[float]], exponents: dict[str, float]
) -> Plot:
    """Microseconds a query against the number of items, both logarithmic, with fitted slopes."""
    canvas, axes = new_canvas()
    for number, (title, microseconds) in enumerate(lines.items()):
        label = f"{title}: n^{exponents[title]:.2f}"
        _line(axes, title, sizes, microseconds, MARKERS[number], label)
        slope = np.polyfit(np.log(sizes), np.log(microseconds), 1)
        axes.plot(sizes, np.exp(np.polyval(slope, np.log(sizes))), color=COLOURS[title],
                  linewidth=0.8, linestyle=":")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes)
    with_thousands(axes.xaxis)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    with_thousands(axes.yaxis)
    axes.set_xlabel("items")
    axes.set_ylabel("microseconds a query, recall 0.95, one thread")
    axes.set_title("How a query's time grows with the index", loc="left")
    axes.legend(loc="upper left", frameon=False)
    caption = "Time of a query at recall 0.95 by the number of items; dotted: the fitted power."
    return Plot(group, "growth", caption, svg_text(canvas))


def new_canvas() -> tuple[Canvas, Axes]:
    """An empty plot in the house's style."""
    canvas = Canvas(figsize=SIZE, layout="constrained")
    axes = canvas.subplots()
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    return canvas, axes


def _line(
    axes: Axes,
    title: str,
    across: Sequence[float],
    up: Sequence[float],
    marker: str,
    label: str | None = None,
) -> None:
    is_ours = title == OURS
    axes.plot(
        across,
        up,
        label=label or title,
        color=COLOURS[title],
        marker=marker,
        markersize=6 if is_ours else 4.5,
        linewidth=3.0 if is_ours else 1.3,
        zorder=5 if is_ours else 3,
    )


def with_thousands(axis: object) -> None:
    """Label an axis with plain numbers, thousands set apart."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]


def svg_text(canvas: Canvas) -> str:
    """The plot as a file that is the same for the same numbers."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "streamlsh", "svg.fonttype": "path"}):
        canvas.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
