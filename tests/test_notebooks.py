"""The notebooks run from their first cell to their last, and hold nothing of the machine that ran them."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FEWER = {"entailment": "pairs, epochs = 30, 1", "transformers": "hub_name, sentences, epochs = None, 64, 1"}
"""In place of the cell with the tag "parameters": with them a notebook says the same of less."""
LARGEST = 300_000  # bytes of a notebook with all its pictures

named = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> list[list[str]]:
    """What a cell shows: the formats of its results, and that it prints, however often."""
    shown = [sorted(output.get("data", {output.get("name", ""): ""})) for output in cell["outputs"]]
    return [formats for formats, _ in groupby(shown) if formats != ["stderr"]]


def printed(cell: Any) -> str:
    """What it prints or returns, as text; nothing of pictures."""
    found = ""
    for output in cell["outputs"]:
        data = output.get("data", {})
        text = output.get("text", "") if not data else data.get("text/plain", "")
        if "image/png" not in data and output.get("name") != "stderr":
            found += "".join(text)
    return found


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["entailment", "mappings", "transformers"]


@named
def test_it_was_run_in_order_and_is_small_and_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert not re.search(
        r"/(home|root|tmp|Users|usr|work)/|site-packages|[A-Z]:\\\\|https?://(?!arxiv)", text
    )
    cells = code_cells(json.loads(text))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


@named
def test_it_runs_and_shows_what_it_showed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    kept = [(kinds(cell), printed(cell)) for cell in code_cells(notebook)]
    for cell in code_cells(notebook):
        if "parameters" in cell["metadata"].get("tags", ()):
            cell["source"] = FEWER[path.stem]
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    found = [(kinds(cell), printed(cell)) for cell in code_cells(notebook)]
    if path.stem in FEWER:  # numbers and sizes of what was learnt differ, and what there is to see does not
        assert [shown for shown, _ in found] == [shown for shown, _ in kept]
    else:
        assert found == kept
