"""Ranges of numbers and choices of words, declared as types where these are, and checked in one place.

A number without an upper end costs nothing, however large it is: a typo in any other could ask for more
time or memory than there is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """The finite numbers of at least ``least``, above ``above``, at most ``most`` and below ``below``.

    Example:
        >>> 1.0 in Range(above=0, most=1), 0.0 in Range(above=0, most=1)
        (True, False)
        >>> print(Range(least=1, most=1000))
        of at least 1 and at most 1,000
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        # Infinity is not below infinity, and NaN fails everything.
        return self.above < number < self.below and self.least <= number <= self.most

    @property
    def is_bounded(self) -> bool:
        """Whether there is an upper end."""
        return min(self.most, self.below) < math.inf

    def __str__(self) -> str:
        ends = {"of at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {end:,}" for words, end in ends.items() if math.isfinite(end))


PositiveInt = Annotated[int, Range(least=1)]
PositiveIntOrNone = Annotated[int | None, Range(least=1)]
NonNegativeInt = Annotated[int, Range(least=0)]
BatchSize = Annotated[int, Range(least=1, most=2**16)]
Seed = Annotated[int, Range(least=0, below=2**32)]
"""What numpy takes."""
Fraction = Annotated[float, Range(least=0, below=1)]


def check_ranges(declared: Callable[..., object], values: Mapping[str, object]) -> None:
    """Refuse a value outside the range, or the words, that ``declared``, a class or function, gives its name.

    Raises:
        ValueError: so it is, or it is no number.

    Example:
        >>> def bake(loaves: PositiveInt, salt: Fraction = 0.02) -> None: ...
        >>> check_ranges(bake, {"loaves": 0})
        Traceback (most recent call last):
        ValueError: loaves must be an integer of at least 1, got 0
    """
    for name, hint in get_type_hints(declared, include_extras=True).items():
        if name not in values:
            continue
        if get_origin(hint) is Annotated:
            check_number(name, values[name], hint)
        elif get_origin(hint) is Literal and values[name] not in get_args(hint):
            raise ValueError(f"{name} must be one of {', '.join(get_args(hint))}, got {values[name]!r}")


def check_number(name: str, value: object, hint: Any) -> None:
    """The same of one value, for a ``hint`` such as :data:`PositiveInt`."""
    kind, bounds = get_args(hint)
    kinds = get_args(kind) or (kind,)
    if value is None and NoneType in kinds:
        return
    accepted, noun = (int, "an integer") if int in kinds else (int | float, "a number")
    if not isinstance(value, accepted) or isinstance(value, bool) or value not in bounds:
        finite = "" if bounds.is_bounded or int in kinds else " and finite"
        raise ValueError(f"{name} must be {noun} {bounds}{finite}, got {value!r}")
