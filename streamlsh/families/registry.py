"""The families by name, and which of them suits what."""

from __future__ import annotations

from streamlsh.errors import SampleError, UnknownFamilyError
from streamlsh.families.base import Family
from streamlsh.families.crosspolytope import CrossPolytope
from streamlsh.families.hyperplane import Hyperplane
from streamlsh.families.pstable import PStable
from streamlsh.families.voronoi import Voronoi

FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (CrossPolytope, Hyperplane, PStable, Voronoi)
}


def family_named(name: object) -> type[Family]:
    """The class of a family.

    Raises:
        UnknownFamilyError: there is none of that name.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise UnknownFamilyError(
            "unknown hash family", expected=" or ".join(map(repr, FAMILIES)), received=repr(name)
        )
    return FAMILIES[name]


def family_for(metric: str, name: str | None, has_sample: bool) -> type[Family]:
    """The class of a family that an index of this metric can have.

    Args:
        metric: how vectors are compared.
        name: as the user chose, or ``None`` for what suits best: voronoi with a sample; without
            one crosspolytope under cosine, and pstable under Euclidean distance.
        has_sample: whether there is one.

    Raises:
        UnknownFamilyError: there is none of that name, or not for this metric.
        SampleError: no family for this metric does without a sample.
    """
    fitting = [family for family in FAMILIES.values() if metric in family.metrics]
    if name is not None:
        chosen = family_named(name)
        if chosen not in fitting:
            raise UnknownFamilyError(
                f"family {name} does not know {metric}",
                expected=" or ".join(repr(family.name) for family in fitting), received=repr(name),
            )  # fmt: skip
        return chosen
    if has_sample:
        return Voronoi
    for family in fitting:
        if not family.needs_sample:
            return family
    raise SampleError(
        f"every family for {metric} is calibrated on a sample of the data",
        expected="sample=, some ten thousand vectors like those to be indexed", received="none",
    )  # fmt: skip
