"""The page *What can go wrong* has every row, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "what-can-go-wrong.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^### ", PAGE.split("\n## The long run", maxsplit=1)[0], flags=re.MULTILINE)[
    1:
]
PROOF = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
ROWS = {
    "killed", "sigterm", "power", "second-consumer", "zombie", "broker-away", "below-start",
    "beyond-end", "topic-deleted", "topic-recreated", "gaps", "away-too-long", "partitions-added",
    "order", "poison", "dead-letters", "full", "readers", "pid-namespaces", "damaged", "formats",
    "stall", "clock", "mixed", "stopped-writer",
}  # fmt: skip


def anchor_of(section: str) -> str:
    found = re.search(r"\{ #([\w-]+) \}$", section.splitlines()[0])
    assert found is not None, section.splitlines()[0]
    return found[1]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_row_of_its_own() -> None:
    assert sorted(map(anchor_of, SECTIONS)) == sorted(ROWS)


@pytest.mark.parametrize("section", SECTIONS, ids=anchor_of)
def test_a_row_says_what_happens_and_names_the_tests_that_prove_it(section: str) -> None:
    assert "**What happens.**" in section
    assert "**Proved by**" in section
    proofs = PROOF.findall(section.split("**Proved by**")[1])
    assert proofs
    for path, name in proofs:
        if name:
            assert name in functions_in(ROOT / path), f"{path} has no {name}"


def test_every_file_that_is_named_is_there() -> None:
    missing = {path for path, _ in PROOF.findall(PAGE) if not (ROOT / path).is_file()}
    assert not missing
