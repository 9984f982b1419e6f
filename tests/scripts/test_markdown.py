"""What is made of records stands in its place in a page, and nothing else is touched."""

import sys
from functools import partial
from pathlib import Path

import pytest

from scripts.markdown import fill, filled

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks" / "training"))
from forked import Child, needs_fork

TEXT = "# A\n\n<!-- one -->\nold\n<!-- end of one -->\n\nwords\n\n<!-- two -->\n<!-- end of two -->\n"


def test_parts_replace_what_stood_there() -> None:
    once = filled(TEXT, {"one": r"new \1 $", "two": "| a |"})
    assert once == (
        "# A\n\n<!-- one -->\n\nnew \\1 $\n\n<!-- end of one -->\n\nwords\n\n"
        "<!-- two -->\n\n| a |\n\n<!-- end of two -->\n"
    )
    assert filled(once, {"one": r"new \1 $", "two": "| a |"}) == once


@pytest.mark.parametrize("text", ["", TEXT + TEXT, "<!-- one -->\n"])
def test_a_part_has_one_place_or_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="must have one place for one"):
        fill(path, {"one": "new"})
    assert path.read_text() == text


@needs_fork
def test_two_commands_that_fill_a_page_lose_no_part(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    names = [f"part {number}" for number in range(6)]
    page.write_text("".join(f"<!-- {name} -->old<!-- end of {name} -->\n" for name in names))
    children = [Child(partial(fill, page, {name: f"new {name}"})) for name in names]
    assert [child.wait() for child in children] == [0] * 6
    assert all(f"new {name}" in page.read_text() for name in names)
