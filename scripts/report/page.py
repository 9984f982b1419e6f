"""The whole page: sections made of records, and the template that they are set in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scripts.cells import Table
from scripts.columns import MAPPINGS
from scripts.comparing.paper import Paper
from scripts.comparing.paper_tables import paper_tables
from scripts.pictures import GROUP_COLOURS
from scripts.report.claims import claims
from scripts.report.glance import STANDINGS, TIERS, VERDICTS, glance, summary
from scripts.report.grids import galleries, shades
from scripts.report.histories import anchor, chapters, collections
from scripts.report.kernels import kernels
from scripts.report.lines import charts
from scripts.report.missing import missing
from scripts.report.views import view
from tasks.training.records import Record

_HERE = Path(__file__).parent
_SCRIPTS = ("mappings.js", "panel.js", "tables.js")


def page(records: Sequence[Record], details: Path, paper: Paper, bench: Path) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        records: of all finished runs; there may be none.
        details: directory of the runs' details.
        paper: the paper's numbers.
        bench: JSON of the benchmark; there may be none.

    Raises:
        RecordError: details that a record speaks of are missing or damaged, or its task is not known.
    """
    tables = sorted(paper_tables(records, details, paper), key=_tier_place)
    lacking, cost = missing(paper, records), kernels(bench)
    parts = chapters(records)
    overview = glance(paper, records)
    shown = [*tables, lacking.table, overview]
    return _environment().get_template("template.html").render(
        paper=paper,
        tiers=TIERS,
        standings=STANDINGS,
        verdicts=VERDICTS,
        summary=summary(records, tables, lacking.count),
        glance=view(overview),
        tables=[view(table) for table in tables if _section(table) == "scores"],
        claims=[claims(table) for table in tables if _section(table) == "claims"],
        reading=[view(table) for table in tables if _section(table) == "reading"],
        galleries=galleries(records, details),
        charts=charts(records),
        cost=cost,
        cost_view=view(cost.table) if cost else None,
        missing=lacking,
        missing_view=view(lacking.table),
        chapters=parts,
        collections=collections(shown, parts),
        count=len(records),
        mappings=MAPPINGS,
        group_colours=GROUP_COLOURS,
    )  # fmt: skip


def _tier_place(table: Table) -> int:
    """The paper's tier first, mini last, whatever else is in the name."""
    return next((n for n, tier in enumerate(TIERS) if table.name.endswith(tier)), len(TIERS))


def _section(table: Table) -> str:
    """Where on the page a table stands, by its name."""
    for word, section in (("claim", "claims"), ("interpretab", "reading"), ("cost", "reading")):
        if table.name.startswith(word):
            return section
    return "scores"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.globals.update(anchor=anchor, style=_inline("style.css") + shades(), script=_inline(*_SCRIPTS))
    made.filters.update(figure=_figure, typeset=_typeset)
    return made


def _inline(*names: str) -> Markup:
    """Our own files, which are not escaped inside <style> and <script>."""
    return Markup("\n".join((_HERE / name).read_text(encoding="utf-8") for name in names))


def _figure(value: float) -> str:
    """A metric of a record, in as many digits as tell runs apart.

    Example:
        >>> _figure(0.1234567), _figure(-1000.7123), _figure(0.0)
        ('0.12346', '−1000.7', '0')
    """
    return f"{value:.5g}".replace("-", "\N{MINUS SIGN}")


def _typeset(text: str) -> str:
    r"""Quotation marks and apostrophes as in print.

    Example:
        >>> _typeset("the paper's \"table\"")
        'the paper’s “table”'
    """
    return re.sub('"([^"]*)"', "“\\1”", text).replace("'", "’")
