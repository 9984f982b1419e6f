"""Learning curves as SVG: the mean over seeds, a band from the lowest to the highest, names at the ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from scripts.curves import curve
from scripts.report.order import in_order
from scripts.report.svg import apart, colour_class, picture, tag
from scripts.reports import Headline, report_of
from tasks.training.records import Record

_WIDTH, _HEIGHT = 340.0, 232.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 30.0, 118.0, 8.0, 34.0  # margins: names of the lines stand in the right one
_LINE = 13.0  # pixels from one name to the next


@dataclass(frozen=True)
class Line:
    """One line of a chart: the mean of each epoch, and between what the seeds lie."""

    mapping: str
    name: str
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Chart:
    """A chart and what stands below it."""

    title: str
    caption: str
    svg: Markup


def charts(records: Sequence[Record]) -> list[Chart]:
    """A chart for every corpus, tier and setting with a run whose record has its history."""
    found = in_order([record for record in records if record.history])
    return [_chart(title, setting, rows) for title, setting, rows in found]


def _chart(title: str, setting: str, rows: Mapping[str, Sequence[Record]]) -> Chart:
    runs = [run for found in rows.values() for run in found]
    headline = report_of(runs[0]).headline
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    caption = f"dev {headline.label} after each epoch; seed{'s' if ',' in seeds else ''} {seeds}; {setting}"
    return Chart(title, caption, draw(lines(rows, headline), f"{title}: {caption}"))


def lines(rows: Mapping[str, Sequence[Record]], headline: Headline) -> list[Line]:
    """A line for each mapping, told apart by its strengths where it has several."""
    names = [found[0].mapping for found in rows.values()]
    return [
        _line(found, headline, label if names.count(found[0].mapping) > 1 else found[0].mapping)
        for label, found in rows.items()
    ]


def _line(runs: Sequence[Record], headline: Headline, name: str) -> Line:
    each = list(zip(*(curve([run], headline) for run in runs), strict=False))
    return Line(
        runs[0].mapping, name, curve(runs, headline), [min(epoch) for epoch in each], [max(e) for e in each]
    )


def draw(drawn: Sequence[Line], label: str) -> Markup:
    """The chart of these lines."""
    epochs = max(len(line.mean) for line in drawn)
    low, high = min(min(line.low) for line in drawn), max(max(line.high) for line in drawn)
    ticks = _ticks(low, high)
    scale = _Scale(max(epochs, 2), ticks[0], ticks[-1])
    ends = apart([scale.y(line.mean[-1]) for line in drawn], _LINE, _TOP + 4, _HEIGHT - _BOTTOM)
    parts = [_axes(scale, ticks, epochs)]
    parts += [_band(line, scale) for line in drawn if line.low != line.high]
    parts += [_path(line, scale) for line in drawn]
    parts += [_name(line, scale, place) for line, place in zip(drawn, ends, strict=True)]
    return picture(_WIDTH, _HEIGHT, label, *parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers round these; no score is above 100."""
    found = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, max(high, low + 1e-6))
    return [float(tick) for tick in found if tick <= 100 or high > 100]


@dataclass(frozen=True)
class _Scale:
    """From epochs and values to pixels."""

    epochs: int
    low: float
    high: float

    def x(self, epoch: int) -> float:
        return _LEFT + (epoch - 1) / (self.epochs - 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * (_HEIGHT - _BOTTOM - _TOP)

    def points(self, values: Sequence[float]) -> list[str]:
        return [f"{self.x(epoch):.1f},{self.y(value):.1f}" for epoch, value in enumerate(values, 1)]


def _axes(scale: _Scale, ticks: Sequence[float], epochs: int) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in ticks:
        y = scale.y(tick)
        parts.append(tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="rule"))
        parts.append(tag("text", f"{tick:g}", x=_LEFT - 5, y=y + 4, class_="end"))
    for epoch in sorted({1, *range(5, epochs - 1, 5), epochs} if epochs > 6 else range(1, epochs + 1)):
        parts.append(tag("text", epoch, x=scale.x(epoch), y=bottom + 15, class_="middle"))
    parts.append(tag("text", "epoch", x=right, y=bottom + 29, class_="end quiet"))
    return tag("g", *parts)


def _band(line: Line, scale: _Scale) -> Markup:
    points = " ".join([*scale.points(line.high), *reversed(scale.points(line.low))])
    return tag("polygon", points=points, class_=f"band {colour_class(line.mapping)}")


def _path(line: Line, scale: _Scale) -> Markup:
    if len(line.mean) == 1:
        dot = {"cx": scale.x(1), "cy": scale.y(line.mean[0]), "r": 3}
        return tag("circle", class_=f"dot {colour_class(line.mapping)}", **dot)
    points = " ".join(scale.points(line.mean))
    return tag("polyline", points=points, class_=f"line {colour_class(line.mapping)}")


def _name(line: Line, scale: _Scale, place: float) -> Markup:
    end, y = scale.x(len(line.mean)), scale.y(line.mean[-1])
    right = _WIDTH - _RIGHT
    leader = tag(
        "polyline", points=f"{end + 2:.1f},{y:.1f} {right + 4:.1f},{y:.1f} {right + 11:.1f},{place:.1f}",
        class_=f"leader {colour_class(line.mapping)}",
    )  # fmt: skip
    return leader + tag("text", f"{line.name} {line.mean[-1]:.1f}", x=right + 14, y=place + 4)
