"""How often near vectors share a bucket: measured on the families' own codes, beside theory.

``python -m tests.bench.collisions`` draws the curves into ``docs/``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.crosspolytope import CrossPolytope
from streamlsh.families.hyperplane import Hyperplane
from streamlsh.families.pstable import PStable

F32 = NDArray[np.float32]
DIM = 128
AXES = 512
WIDTH = 4.0


@dataclass(frozen=True, slots=True)
class Curve:
    """One family's collisions.

    Attributes:
        name: of the family.
        title: of the plot.
        unit: of the distances.
        distances: where it was measured.
        measured: share of hashes that agree there.
        theory: what it should be.
        error: one standard deviation of the measurement.
    """

    name: str
    title: str
    unit: str
    distances: list[float]
    measured: list[float]
    theory: list[float]
    error: list[float]


def pairs_at_angle(
    angle: float, count: int, rng: np.random.Generator, dim: int = DIM
) -> tuple[F32, F32]:
    """Pairs of unit vectors, (count, dim) each."""
    x = rng.standard_normal((count, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = rng.standard_normal((count, dim))
    y -= (x * y).sum(axis=1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    other = math.cos(angle) * x + math.sin(angle) * y
    return x.astype(np.float32), other.astype(np.float32)


def hyperplane_theory(angle: float) -> float:
    """1 - t / pi (Goemans and Williamson 1995, Charikar 2002)."""
    return 1.0 - angle / math.pi


def pstable_theory(distance: float, width: float = WIDTH) -> float:
    """Datar, Immorlica, Indyk, Mirrokni 2004, section 3.2, for the Gaussian distribution."""
    if distance == 0.0:
        return 1.0
    ratio = width / distance
    below = 0.5 * (1.0 + math.erf(-ratio / math.sqrt(2.0)))
    last = 2.0 / (math.sqrt(2.0 * math.pi) * ratio) * (1.0 - math.exp(-ratio * ratio / 2.0))
    return 1.0 - 2.0 * below - last


def crosspolytope_theory(angle: float, axes: int = AXES, trials: int = 20_000) -> float:
    """The share of Gaussian rotations under which two vectors have one nearest signed axis.

    Along every axis the two coordinates are Gaussian with the cosine as correlation (Andoni et
    al. 2015, theorem 1, has the asymptotics; this is the probability itself).
    """
    rng = np.random.default_rng(int(1e6 * angle) + axes)
    agreed = 0
    for _ in range(20):
        x = rng.standard_normal((trials // 20, axes))
        y = math.cos(angle) * x + math.sin(angle) * rng.standard_normal(x.shape)
        i, j = np.abs(x).argmax(axis=1), np.abs(y).argmax(axis=1)
        rows = np.arange(len(x))
        agreed += int(((i == j) & (x[rows, i] * y[rows, j] > 0)).sum())
    return agreed / trials


def crosspolytope_asymptotics(angle: float, axes: int = AXES) -> float:
    """exp(-(t^2 / (4 - t^2)) ln d), without the lower terms."""
    square = 2.0 - 2.0 * math.cos(angle)
    return math.exp(-square / (4.0 - square) * math.log(axes))


def hyperplane_measured(angle: float, pairs: int) -> float:
    """Agreement of 256 single signs, each a table."""
    family = Hyperplane.fit(DIM, "cosine", 1, None, {"bits": 1, "tables": 256})
    return _agreement(family.encode, *pairs_at_angle(angle, pairs, np.random.default_rng(2)))


def crosspolytope_measured(angle: float, pairs: int) -> float:
    """Agreement of 64 tables' codes."""
    family = CrossPolytope.fit(DIM, "cosine", 1, None, {"axes": AXES, "tables": 64})
    return _agreement(family.encode, *pairs_at_angle(angle, pairs, np.random.default_rng(2)))


def pstable_measured(distance: float, pairs: int) -> float:
    """Agreement of 64 single hashes."""
    family = PStable.fit(
        DIM, "euclidean", 1, None, {"bucket_length": WIDTH, "hashes": 1, "tables": 64}
    )
    rng = np.random.default_rng(2)
    x = rng.standard_normal((pairs, DIM)).astype(np.float32)
    way = rng.standard_normal((pairs, DIM))
    way *= distance / np.linalg.norm(way, axis=1, keepdims=True)
    return _agreement(family.encode, x, (x + way).astype(np.float32))


def measure(pairs: int = 400) -> list[Curve]:
    """The curves of the families that do not depend on data."""
    angles = np.linspace(0.05, 0.95, 10) * math.pi
    near = np.linspace(0.05, 0.5, 10) * math.pi
    ways = np.linspace(0.5, 12.0, 12)
    return [
        _curve(
            "hyperplane", "one sign", "angle, radians", angles, hyperplane_measured,
            hyperplane_theory, pairs, 256,
        ),
        _curve(
            "crosspolytope", f"nearest of {2 * AXES} signed axes", "angle, radians", near,
            crosspolytope_measured, crosspolytope_theory, pairs, 64,
        ),
        _curve(
            "pstable", f"one hash, w = {WIDTH:g}", "distance", ways, pstable_measured,
            pstable_theory, pairs, 64,
        ),
    ]  # fmt: skip


def _curve(
    name: str,
    title: str,
    unit: str,
    distances: NDArray[np.float64],
    measured: Callable[[float, int], float],
    theory: Callable[[float], float],
    pairs: int,
    hashes: int,
) -> Curve:
    places = [float(one) for one in distances]
    expected = [theory(one) for one in places]
    return Curve(
        name, title, unit, places, [measured(one, pairs) for one in places], expected,
        [math.sqrt(p * (1 - p) / (pairs * hashes)) for p in expected],
    )  # fmt: skip


def _agreement(encode: Callable[[F32], object], x: F32, y: F32) -> float:
    ours, theirs = (encode(rows).buckets for rows in (x, y))  # type: ignore[attr-defined]
    return float((ours == theirs).mean())


def draw(curve: Curve) -> str:
    """An SVG of a curve, the same for the same numbers."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "streamlsh", "svg.fonttype": "none"}):
        canvas = Figure(figsize=(6.0, 3.6), layout="constrained")
        axes = canvas.subplots()
        axes.plot(curve.distances, curve.theory, color="#333333", label="theory")
        axes.plot(
            curve.distances, curve.measured, "o", color="#c8102e", markersize=5, label="measured"
        )
        if curve.name == "crosspolytope":
            axes.plot(
                curve.distances, [crosspolytope_asymptotics(a) for a in curve.distances], "--",
                color="#999999", label="leading term alone",
            )  # fmt: skip
        axes.set_xlabel(curve.unit)
        axes.set_ylabel("probability of a collision")
        axes.set_title(f"{curve.name}: {curve.title}")
        axes.set_ylim(0, 1)
        axes.grid(color="#eeeeee")
        axes.legend(frameon=False)
        file = io.StringIO()
        canvas.savefig(file, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def main() -> None:
    """Draw every curve."""
    docs = Path(__file__).parents[2] / "docs"
    for curve in measure():
        (docs / f"collisions-{curve.name}.svg").write_text(draw(curve))


if __name__ == "__main__":
    main()
