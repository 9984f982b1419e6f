"""Learning curves from the records of finished runs: `make curves`.

A picture is of one corpus and one tier, as a table is, with a panel for each setting and in it a line for
each mapping: the mean over its seeds, up to the end of the shortest run.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scripts import cli
from scripts.reports import Headline, report_of
from scripts.style import COLOURS, house_style, name_lines, save_figure
from scripts.tables import RESULTS, Corpus, by_mapping, by_setting
from tasks.training.records import Record, read_records

Panels = Sequence[tuple[str, Sequence[Record]]]
_WIDTH, _HEIGHT = 7.5, 3.0  # inches of a panel, names of the lines included
_DASHES = ("-", "--", ":", "-.")  # lines of one mapping with different strengths


def curve(records: Sequence[Record], headline: Headline) -> list[float]:
    """The dev metric of every epoch, mean over runs, as long as all of them go on."""
    histories = [[entry["dev"][headline.metric] for entry in record.history] for record in records]
    return [headline.scale * mean(values) for values in zip(*histories, strict=False)]


def file_name(kind: str, corpus: Corpus, is_ambiguous: bool) -> str:
    """What a picture of a corpus is called, with its checksum where another has the same name.

    Example:
        >>> file_name("curves", ("snli", "stanfordnlp/snli", "ab" * 32, "paper"), False)
        'curves-snli-stanfordnlp_snli-paper'
    """
    task, name, sha256, tier = corpus
    words = [task, name, tier, *([sha256[:8]] if is_ambiguous else [])]
    return "-".join([kind, *(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)])


def file_names(kind: str, corpora: Collection[Corpus]) -> dict[Corpus, str]:
    """Names of pictures of several corpora, no two alike."""
    names = Counter(file_name(kind, corpus, False) for corpus in corpora)
    return {corpus: file_name(kind, corpus, names[file_name(kind, corpus, False)] > 1) for corpus in corpora}


def draw_curves(path: Path, panels: Panels, headline: Headline) -> Path:
    """Save a picture with one panel below the other, and return where.

    Args:
        path: where to, ending in ``.png``; a missing directory is made.
        panels: titles, which may repeat, and runs, all of which have a history.
        headline: the metric.
    """
    with house_style():
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(panels)), layout="constrained")
        places = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, (title, records) in zip(places, panels, strict=True):
            _draw(axes, records, headline)
            axes.set_title(_wrapped(title), loc="left", fontsize=9, parse_math=False)
        save_figure(figure, path, bbox_inches="tight")
    return path


def _draw(axes: Axes, records: Sequence[Record], headline: Headline) -> None:
    """The lines, named in the order in which they end."""
    drawn: Counter[str] = Counter()
    for label, found in by_mapping(records).items():
        heights, mapping = curve(found, headline), found[0].mapping
        axes.plot(
            range(1, len(heights) + 1), heights, label=label, color=COLOURS.get(mapping, COLOURS[""]),
            linestyle=_DASHES[drawn[mapping] % len(_DASHES)], marker="o", markersize=3,
        )  # fmt: skip
        drawn[mapping] += 1
    name_lines(axes)
    axes.set(xlabel="epoch", ylabel=f"dev {headline.label}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _wrapped(title: str) -> str:
    """Lines of a page's width, broken after commas only."""
    kept = title.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
    return "\n".join(re.sub("\N{NO-BREAK SPACE}", " ", line) for line in textwrap.wrap(kept, 95))


def draw_all(records: Sequence[Record], folder: Path) -> list[Path]:
    """Draw the curves of every corpus with a run whose record has them, and return where they are."""
    found = by_setting([record for record in records if record.history])
    names = file_names("curves", found)
    drawn = []
    for corpus, settings in found.items():
        path = folder / f"{names[corpus]}.png"
        headline = report_of(next(iter(settings.values()))[0]).headline
        drawn.append(
            draw_curves(path, [(setting, runs) for (setting, _), runs in settings.items()], headline)
        )
    return drawn


def main() -> None:
    """Write the pictures to results/figures, and say where they are."""
    drawn = draw_all(read_records(RESULTS / "runs"), RESULTS / "figures")
    print("\n".join(map(str, drawn)) or f"no record in {RESULTS / 'runs'} holds the history of its run")


if __name__ == "__main__":
    cli.main(main)
