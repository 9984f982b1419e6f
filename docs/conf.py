"""The site: README, these pages and the tables of results, as the tree has them; `make docs` builds it.

The source is the repository's root, so that a link that leads somewhere in a clone leads there on the site.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.addnodes import download_reference

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import regattn  # noqa: E402  by way of the path above

project, author, version = "regattn", "the regattn authors", regattn.__version__
copyright = "the regattn authors; BSD-3-Clause"
root_doc = "README"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/notebooks/*.ipynb",
    "results/tables/*.md", "results/bench/*.md",
]  # fmt: skip
exclude_patterns = [".*", "build", "data", "runs", "results/[dr]*", "results/studies"]
NAVIGATION = {
    "Use": ["start", "mappings", "choosing", "models", "gallery", "entmax"],
    "Notebooks": ["notebooks/mappings", "notebooks/entailment", "notebooks/transformers"],
    "The suite": ["data", "training", "reproducing", "scaling", "fidelity"],
    "What was found": ["results", "benchmarks", "reliability"],
    "Inside": ["kernels", "architecture", "/CONTRIBUTING", "/CHANGELOG"],
}
"""Pages of the side bar, which the README leads to; a list may be empty."""

html_theme = "furo"
html_title = f"regattn {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = ["myst.header"]  # pages of one table begin at the second level
autodoc_typehints = "none"  # shapes and ranges stand in the text
autodoc_member_order = "bysource"
napoleon_custom_sections = ["Source"]
napoleon_use_ivar = True
napoleon_use_rtype = False  # what is returned is a sentence, not a type
copybutton_prompt_text = ">>> "
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(torch|matplotlib|transformers|collections)\..*|regattn\._.*")]


class NotebookParser(MystParser):
    """A notebook as a page: its text, its code, and of its outputs what is text or a picture."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        parts = []
        for cell in json.loads(inputstring)["cells"]:
            source = "".join(cell["source"])
            parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            parts += filter(None, map(_output, cell.get("outputs", [])))
        super().parse("\n\n".join(parts), document)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![](data:image/png;base64,{''.join(data['image/png'].split())})"
    text = "".join(output.get("text", data.get("text/plain", "")))
    shown = text.strip() and not text.startswith("<IPython.")
    return f"```text\n{text.rstrip()}\n```" if shown else ""


def add_navigation(app: Any, docname: str, source: list[str]) -> None:
    """Append to the README the lists of pages, and to pages that lead tables on theirs."""
    if docname == root_doc:
        for caption, pages in NAVIGATION.items():
            paths = [page[1:] if page.startswith("/") else f"docs/{page}" for page in pages]
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(paths) + "\n```\n"
    for place, folder in (("docs/results", "tables"), ("docs/benchmarks", "bench")):
        if docname == place:
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n/results/{folder}/*\n```\n"


def draw_pictures(app: Any, doctree: nodes.document, docname: str) -> None:
    """Run the Python of the gallery, block by block, and put each block's ``figure`` below it."""
    if docname != "docs/gallery":
        return
    names: dict[str, Any] = {}
    for block in list(doctree.findall(nodes.literal_block)):
        exec(block.astext(), names)
        place = block.parent.index(block) + 1
        if any(image for after in block.parent[place : place + 1] for image in after.findall(nodes.image)):
            continue  # the one that the page shows in a clone, too
        file = io.StringIO()
        names["figure"].savefig(file, format="svg", metadata={"Date": None})
        svg = file.getvalue()[file.getvalue().index("<svg") :]
        block.parent.insert(place, nodes.raw("", f'<div class="picture">{svg}</div>', format="html"))


def visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(convert(_latex(node)))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{convert(_latex(node), display="block")}</div>')
    raise nodes.SkipNode


def _latex(node: nodes.Element) -> str:
    return node.astext().replace(r"\_", "_")  # which the converter shows as it stands


def link_files(app: Any, doctree: nodes.document, docname: str) -> None:
    """Lead links to files to where they lie in the tree, and pictures to themselves, at full size."""

    def link(path: str | Path, *children: nodes.Node) -> nodes.reference:
        return nodes.reference("", "", *children, refuri=os.path.relpath(path, Path(docname).parent))

    for node in list(doctree.findall(download_reference)):
        file, _ = app.env.relfn2path(node["reftarget"], docname)
        node.replace_self(link(file, *node.children))
    for image in list(doctree.findall(nodes.image)):
        if image["uri"] in app.env.images and not isinstance(image.parent, nodes.reference):
            _, name = app.env.images[image["uri"]]
            image.replace_self(link(Path("_images", name), image.deepcopy()))


def finish(app: Any, error: Exception | None) -> None:
    """A site begins at index.html, and holds the files that its pages lead to, and the report's records."""
    if error is not None or app.builder.name != "html":
        return
    site = Path(app.outdir)
    shutil.copy(site / f"{root_doc}.html", site / "index.html")
    shutil.rmtree(site / "_downloads", ignore_errors=True)  # where Sphinx puts them, by a hash
    for file in (
        *map(Path, app.env.dlfiles),
        *(p.relative_to(ROOT) for p in ROOT.glob("results/runs/*.json")),
    ):
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, site / file)


def setup(app: Any) -> None:
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("source-read", add_navigation)
    app.connect("doctree-resolved", draw_pictures)
    app.connect("doctree-resolved", link_files)
    app.connect("build-finished", finish)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))


html_math_renderer = "mathml"
