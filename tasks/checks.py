"""What is refused in one sentence: numbers out of their range, other words, packages that are not installed.

Ranges and choices are declared as types where the numbers and words are, and checked in one place. A number
without an upper end costs nothing, however large it is: a typo in any other could ask for more time or memory
than there is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


class Refusal(Exception):
    """An error that its message explains in one sentence to somebody who can mend it."""


class PackageError(Refusal, ImportError):
    """A package is not installed; the message says what needs it."""


def check_installed(package: str, wanted_by: str, install: str = "") -> None:
    """Refuse to begin what will import a package that is not there; to look for it imports nothing.

    Args:
        package: name that it is imported by.
        wanted_by: what imports it, for the message.
        install: what to install, where that is not ``package``.

    Raises:
        PackageError: it is missing.

    Example:
        >>> check_installed("datasetz", "a table")
        Traceback (most recent call last):
        tasks.checks.PackageError: a table must have the package datasetz, got none: pip install datasetz
    """
    if find_spec(package) is None:
        wanted = f"{wanted_by} must have the package {package}"
        raise PackageError(f"{wanted}, got none: pip install {quote(install or package)}")


def counted(number: int, word: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "process"), counted(1_000, "process"), counted(0, "seed")
        ('1 process', '1,000 processes', '0 seeds')
    """
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{number:,} {word if number == 1 else plural}"


# ------------------------------------------------------------------ ranges
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
        is_bounded = min(bounds.most, bounds.below) < math.inf
        finite = "" if is_bounded or int in kinds else " and finite"
        raise ValueError(f"{name} must be {noun} {bounds}{finite}, got {value!r}")


_PLAIN: dict[Any, Any] = {
    Path: str,
    float: (int, float),
    **{kind: kind for kind in (str, int, bool, NoneType)},
}


def fits(value: object, hint: Any) -> bool:
    """Whether a plain value is of a type, with all that it holds; of types that no plain value has, all are.

    Example:
        >>> fits({"lam": [0.1, 1]}, dict[str, list[float]]), fits({"lam": ["1"]}, dict[str, list[float]])
        (True, False)
    """
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind in (dict, Mapping):
        return isinstance(value, dict) and all(
            fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items()
        )
    if kind in (list, Sequence):
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if hint not in _PLAIN:
        return True
    return isinstance(value, _PLAIN[hint]) and not (isinstance(value, bool) and hint is not bool)
