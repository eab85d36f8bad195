"""The pages of the command lines in the docs are what the commands say of themselves."""

from importlib import import_module
from pathlib import Path

import pytest

from streamlsh.cli.reference import main, reference

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "cli.md": "streamlsh.cli.parser:build_parser",
    "cli-kafka.md": "streamlsh_kafka.options:new_parser",
}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_up_to_date(page: str) -> None:
    module, _, function = PAGES[page].partition(":")
    parser = getattr(import_module(module), function)()
    assert (DOCS / page).read_text(encoding="utf-8") == reference(parser), "run: make docs-cli"


def test_a_page_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    assert main([PAGES["cli.md"], str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# streamlsh\n")
