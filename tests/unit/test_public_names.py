"""What the packages export is exactly what they promise: documented, typed, and nothing else."""

import inspect
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamlsh
import streamlsh.datasets
import streamlsh.evaluation
import streamlsh_kafka

PACKAGES = (streamlsh, streamlsh.datasets, streamlsh.evaluation, streamlsh_kafka)
NAMES = [(package, name) for package in PACKAGES for name in package.__all__]
DOCS = Path(__file__).parents[2] / "docs"


def _id(value: object) -> str:
    return value.__name__ if isinstance(value, types.ModuleType) else str(value)


def _callables(value: Any) -> Iterator[tuple[str, Any]]:
    """What a person can call: the function itself, or a class's constructor and methods."""
    if inspect.isfunction(value):
        yield "", value
    if not inspect.isclass(value):
        return
    for name, member in vars(value).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        plain = plain.fget if isinstance(plain, property) else plain
        constructor = name == "__init__" and not getattr(value, "_is_protocol", False)
        if inspect.isfunction(plain) and (constructor or not name.startswith("_")):
            yield f".{name}", plain


@pytest.mark.parametrize("package", PACKAGES, ids=_id)
def test_no_name_is_listed_twice(package: types.ModuleType) -> None:
    assert len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=_id)
def test_nothing_else_of_ours_is_exported(package: types.ModuleType) -> None:
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("streamlsh")
    }
    assert public <= set(package.__all__)


def test_names_are_the_same_whatever_was_used_before() -> None:
    code = (
        "import streamlsh\n"
        "for name in streamlsh.__all__:\n"
        "    getattr(streamlsh, name)\n"
        "print(*(type(getattr(streamlsh, name)).__name__ for name in ('create', 'open', 'writer')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert out == "function function function\n"


@pytest.mark.parametrize(("package", "name"), NAMES, ids=_id)
def test_every_name_exists_with_a_docstring(package: types.ModuleType, name: str) -> None:
    value = getattr(package, name)
    for suffix, function in _callables(value):
        assert suffix == ".__init__" or inspect.getdoc(function), f"{name}{suffix}"
    if inspect.isclass(value):
        assert inspect.getdoc(value), name


@pytest.mark.parametrize(("package", "name"), NAMES, ids=_id)
def test_every_name_is_typed(package: types.ModuleType, name: str) -> None:
    for suffix, function in _callables(getattr(package, name)):
        signature = inspect.signature(function)
        assert suffix == ".__init__" or signature.return_annotation is not signature.empty
        untyped = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in {"self", "cls"}
        ]
        assert not untyped, f"{name}{suffix}: {untyped}"


@pytest.mark.parametrize(("package", "name"), NAMES, ids=_id)
def test_every_name_is_in_the_docs(package: types.ModuleType, name: str) -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert f"{package.__name__}.{name}\n" in page, f"add to docs/api.md: {package.__name__}.{name}"
