"""Elements of HTML and SVG, escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from scripts.style import COLOURS

_NARROW, _WIDE = "fijlrt.,;:'|!()[] ", "mwMWæœ@%—…"


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """An element with what is inside; an attribute called like a word of Python ends in ``_``.

    Example:
        >>> tag("text", "a < b", class_="name", text_anchor="end")
        Markup('<text class="name" text-anchor="end">a &lt; b</text>')
    """
    head = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), short(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), head, Markup("").join(map(escape, inside)))


def length(text: str) -> float:
    """About as many pixels as a text of 11 takes in the widest of the usual fonts.

    Example:
        >>> length("ill"), length("mow")
        (13.5, 29.5)
    """
    return sum(4.5 if letter in _NARROW else 11 if letter in _WIDE else 7.5 for letter in text)


def short(value: object) -> str:
    """A number with one decimal at most, which is a tenth of a pixel; anything else as it is.

    Example:
        >>> short(12.34567), short(3.0), short("x")
        ('12.3', '3', 'x')
    """
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def picture(width: float, height: float, label: str, *inside: object) -> Markup:
    """An SVG of so many pixels, and what a reader is told who does not see it."""
    box = f"0 0 {short(float(width))} {short(float(height))}"
    return tag(
        "svg", *inside, viewBox=box, width=float(width), height=float(height), role="img", aria_label=label
    )


def colour_class(mapping: str) -> str:
    """The class that gives an element the colour of a mapping.

    Example:
        >>> colour_class("fusedmax"), colour_class("oscarmax_published")
        ('of-fusedmax', 'of-other')
    """
    return f"of-{mapping}" if mapping and mapping in COLOURS else "of-other"


def apart(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Places for labels: as near as simply done to where they are wanted, at least so far from each other.

    Args:
        wanted: one for each label, in any order.
        distance: between two of them.
        low, high: the outermost places, as far as there is room.

    Example:
        >>> apart([10.0, 50.0, 11.0], 5.0, 0.0, 52.0)
        [10.0, 50.0, 15.0]
        >>> apart([50.0, 50.0], 5.0, 0.0, 52.0)
        [47.0, 52.0]
    """
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    places: list[float] = []
    for k in order:
        places.append(max(wanted[k], low if not places else places[-1] + distance))
    limit = high
    for number in reversed(range(len(places))):
        places[number] = min(places[number], limit)
        limit = places[number] - distance
    found = [0.0] * len(wanted)
    for k, place in zip(order, places, strict=True):
        found[k] = place
    return found
