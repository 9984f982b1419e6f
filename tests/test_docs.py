"""README and docs: links lead somewhere, examples run, every public name has its place."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

import regattn

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("regattn", "tasks", "scripts", "configs", "tests", "docs", "requirements")
CODE = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_is_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


# ------------------------------------------------------------------ links
def links(text: str) -> list[str]:
    """Where a page's links and pictures lead within the project, outside of code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = rf"(?<![\w/])(?:{'|'.join(FOLDERS)})/[\w/.-]+\.(?:py|yaml|md|sbatch)\b"
    found = re.findall(named, page.read_text(encoding="utf-8"))
    assert [name for name in found if not (ROOT / name).exists()] == []


def test_a_broken_link_is_noticed() -> None:
    text = (
        "[a](docs/none.md) ![b](no.png) [c](docs/kernels.md#nothing) [d](https://x.org/y) `[e](f)` [g](docs)"
    )
    assert broken(ROOT / "README.md", text) == ["docs/none.md", "no.png", "docs/kernels.md#nothing"]
    assert broken(ROOT / "docs" / "x.md", "[a](kernels.md#7-on-a-cpu) [b](README.md)") == ["README.md"]


# ------------------------------------------------------------------ examples
class _AnyOutput(doctest.OutputChecker):
    """Examples without a session's prompts show no output that could be compared."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return True


def run_blocks(text: str, names: dict[str, Any]) -> str:
    """Run the blocks of Python in a page one after another; the report of what failed."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    examples = [
        doctest.Example(ast.unparse(statement), "")
        for block in blocks
        if not block.startswith(">>>")  # which pytest runs, and compares
        and "<run>" not in block  # a reader's own
        for statement in ast.parse(block).body
    ]
    test, report = doctest.DocTest(examples, names, "page", None, 0, text), []
    doctest.DocTestRunner(_AnyOutput()).run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    return "".join(report)


@pytest.fixture
def already_there(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """What the README's fragments take for granted: a layer, its inputs, a pretrained model's folder."""

    def make() -> dict[str, Any]:
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8, vocab_size=9
        )
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "checkpoint")
        query, key, value = torch.randn(3, 2, 4, 5, 8)
        layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
        return {
            "torch": torch, "regattn": regattn, "AutoModel": transformers.AutoModel, "layer": layer,
            "query": query, "key": key, "value": value, "checkpoint": str(tmp_path / "checkpoint"),
        }  # fmt: skip

    return make


@pytest.mark.parametrize("page", CODE, ids=page_name)
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, already_there: Callable[[], dict[str, Any]]
) -> None:
    names = already_there() if page.name == "README.md" else {}
    monkeypatch.chdir(tmp_path)
    assert run_blocks(page.read_text(encoding="utf-8"), names) == ""


def test_an_example_that_fails_is_noticed() -> None:
    names: dict[str, Any] = {}
    report = run_blocks("```python\nx = 1\nx\n```\n\n```python\ny = x + z\n```\n", names)
    assert "NameError: name 'z' is not defined" in report and names["x"] == 1


def test_the_readmes_picture_is_the_gallerys_first() -> None:
    from scripts.figures import picture
    from scripts.style import drawn

    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    assert run_blocks(text.partition("## What λ does")[0], names) == ""
    assert drawn(names["figure"], ".png") == drawn(picture(), ".png")


# ------------------------------------------------------------------ public names
def test_every_public_name_is_on_the_page_of_mappings() -> None:
    text = (ROOT / "docs" / "mappings.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. (?:auto|py:)\w+:: regattn\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(regattn.__all__)


@pytest.mark.parametrize("name", regattn.__all__)
def test_every_public_name_says_how_it_is_used(name: str) -> None:
    """A Module may point to its function, and a loss to the one that it is an instance of."""
    found = getattr(regattn, name)
    text = found.__doc__
    if not callable(found):
        return
    points = re.search("Module form of :func:|:func:`fenchel_young_loss` of|and errors as for :func:", text)
    wanted = [] if points else ["Args:|Attributes:"] if isinstance(found, type) else ["Args:", "Returns:"]
    assert [part for part in [*wanted, "Example:"] if not re.search(part, text)] == []


@pytest.mark.parametrize("name", [n for n in regattn.__all__ if isinstance(getattr(regattn, n), type)])
def test_no_module_s_forward_has_torch_s_help(name: str) -> None:
    forward = getattr(getattr(regattn, name), "forward", None)
    assert forward is None or "Should be overridden" not in (inspect.getdoc(forward) or "")


# ------------------------------------------------------------------ the site
def dead_links(site: Path) -> list[str]:
    """Links of a built site, of any page and of the report, that lead to no file or to no place in one."""
    texts = {page.resolve(): page.read_text("utf-8") for page in site.rglob("*.html")}
    places = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in texts.items()}
    found = []
    for page, text in texts.items():
        for link in set(re.findall(r'(?:href|src)="([^":]+)"', text)):
            path, _, place = unquote(unescape(link)).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            if not target.is_file() or (place and place not in places.get(target, {place})):
                found.append(f"{page.name}: {link}")
    return found


def test_a_dead_link_of_a_site_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.html").write_text('<i id="here"><a href="#here"><a href="../y.csv?v=1"><a href="z">')
    (tmp_path / "b.html").write_text(
        '<a href="a/x.html#here"><a href="a/x.html#there"><a href="https://a/b">'
    )
    (tmp_path / "y.csv").touch()
    assert sorted(dead_links(tmp_path)) == ["b.html: a/x.html#there", "x.html: z"]


def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="make docs installs what the site is built with")
    site = tmp_path / "site"
    command = ["-m", "sphinx", "-W", "-q", "-d", str(tmp_path / "trees"), "-c", "docs", ".", str(site)]
    found = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text("utf-8") for path in site.rglob("*.html")}
    fetched = r"<(?:script|img|link)\b[^>]*(?:src|href)=.(?:https?:)?//[^>]*>"
    assert [found for text in pages.values() for found in re.findall(fetched, text)] == []
    assert pages["index.html"] == pages["README.html"]
    assert pages["docs/gallery.html"].count('<div class="picture">') == 5
    assert "<math" in pages["docs/mappings.html"]
    assert dead_links(site) == []
    assert "results/report/index.html" in pages and list(site.glob("results/runs/*.json"))
