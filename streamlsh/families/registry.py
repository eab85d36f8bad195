"""The families by name."""

from __future__ import annotations

from streamlsh.errors import UnknownFamilyError
from streamlsh.families.base import Family
from streamlsh.families.hyperplane import Hyperplane
from streamlsh.families.voronoi import Voronoi

FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Hyperplane, Voronoi)}


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
