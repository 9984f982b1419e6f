"""What the library knows of each mapping; whoever needs a list of mappings reads it here.

Each mapping's file makes its :class:`MappingSpec` beside its function, and ``regattn/__init__.py`` puts them
in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from regattn._checks import RANGES, Range
from regattn._mapping import Mapping
from regattn._operators import Solver


class StrengthSpec(NamedTuple):
    """A strength of a mapping."""

    name: str
    default: float
    range: Range


@dataclass(frozen=True)
class MappingSpec:
    """A mapping with what is known of it.

    Attributes:
        function: ``function(scores, dim, *, <strengths>, mask)``; its keyword-only arguments but ``mask`` are
            the strengths, with their defaults.
        module: its Module form.
        colour: of its lines and points in every plot; Okabe and Ito's, told apart by colour-blind readers.
        omega: its Ω without γ, ``(weights, allowed, **strengths) -> Ω`` along the last dimension; None for a
            mapping that is not the argmax of a regularized maximum.
        certificate: its optimality conditions, ``(rows, **strengths) -> violations`` with the
            :class:`regattn._certify.Rows` of scores divided by γ; None if there are none.
        solver: the operator that solves it; None if it has none of its own.
        has_groups: whether the structure that its solver returns ties positions together.
        paper_name: what the paper calls it, "" if it is not one of the paper's five.
    """

    function: Callable[..., Tensor]
    module: type[Mapping]
    colour: str
    omega: Callable[..., Tensor] | None = None
    certificate: Callable[..., Tensor] | None = None
    solver: Solver | None = None
    has_groups: bool = False
    paper_name: str = ""

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def in_paper(self) -> bool:
        """Whether it is one of the five that the paper compares."""
        return bool(self.paper_name)

    @property
    def strengths(self) -> tuple[StrengthSpec, ...]:
        return tuple(StrengthSpec(name, value, RANGES[name]) for name, value in self.defaults.items())

    @property
    def defaults(self) -> dict[str, float]:
        """Strengths by name, in the order of the function's arguments."""
        given: Any = self.function.__kwdefaults__
        return {name: value for name, value in given.items() if name != "mask"}


MAPPINGS: dict[str, MappingSpec] = {}
"""All mappings by name: the paper's five in its order, then others."""


def register(spec: MappingSpec) -> None:
    """Add a mapping to :data:`MAPPINGS`, behind those that are there.

    Raises:
        ValueError: a name that is taken, or a strength without a range in ``regattn._checks.RANGES``.
    """
    if spec.name in MAPPINGS:
        raise ValueError(f"a mapping's name must not be taken, got {spec.name!r}")
    unknown = [name for name in spec.defaults if name not in RANGES]
    if unknown:
        raise ValueError(f"strengths must have a range, got {', '.join(unknown)} of {spec.name} without one")
    MAPPINGS[spec.name] = spec


def find(function: Any) -> MappingSpec | None:
    """The spec of a mapping's function, if it is one of this library's."""
    spec = MAPPINGS.get(getattr(function, "__name__", ""))
    return spec if spec is not None and spec.function is function else None


def find_with(function: Any, attribute: str) -> MappingSpec:
    """The spec of a mapping's function, which must be known and have ``attribute``."""
    spec = find(function)
    if spec is None or getattr(spec, attribute) is None:
        known = ", ".join(name for name, each in MAPPINGS.items() if getattr(each, attribute) is not None)
        raise ValueError(f"mapping must be one of {known}, got {getattr(function, '__name__', function)!r}")
    return spec
