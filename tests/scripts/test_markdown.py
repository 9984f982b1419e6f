"""What is made of records stands in its place in the README, and nothing else is touched."""

from pathlib import Path

import pytest

from scripts.markdown import fill_readme, filled

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
        fill_readme({"one": "new"}, path)
    assert path.read_text() == text
