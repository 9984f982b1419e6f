"""What a mapping is, and what the library knows of each; whoever needs a list of mappings reads it here.

Each mapping's file makes its :class:`MappingSpec` beside its function, and ``regattn/__init__.py`` puts them
in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from regattn._autograd import Solver
from regattn._checks import RANGES, Range, Strength, check_strengths


class Mapping(nn.Module):
    """A mapping that remembers its dimension and strengths.

    Attributes:
        function: the mapping as a function.
        dim: dimension of the positions attended to.
        strengths: its keyword parameters, such as ``{"gamma": 1.0, "lam": 0.1}``; each is an
            attribute too. One that is an ``nn.Parameter`` is learnt as it is and may be driven out of its
            range, another tensor is a buffer.
        learn: names of strengths that are learnt and cannot leave their range. What is learnt is
            ``raw_<name>``: the logarithm of a strength above its least value, or the logit between two ends.

    Raises:
        ValueError: a strength out of its range, or one to learn that is no number strictly inside it.

    Example:
        >>> mapping = Fusedmax(lam=0.1, learn=("lam",))
        >>> mapping, [name for name, _ in mapping.named_parameters()]
        (Fusedmax(dim=-1, gamma=1.0, lam=0.1, learn=('lam',)), ['raw_lam'])
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, dim: int = -1, *, learn: Sequence[str] = (), **strengths: Strength) -> None:
        super().__init__()
        check_strengths(**{name: value for name, value in strengths.items() if not isinstance(value, Tensor)})
        self.dim = dim
        self.learn = tuple(learn)
        self._names = tuple(strengths)
        self._check_learn()
        for name, value in strengths.items():
            if name in self.learn:
                self.register_parameter(f"raw_{name}", nn.Parameter(_unbounded(name, value)))
            elif isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    @property
    def strengths(self) -> dict[str, Strength]:
        return {name: self._strength(name) for name in self._names}

    def _strength(self, name: str) -> Strength:
        value: Any = getattr(self, f"raw_{name}" if name in self.learn else name)
        return RANGES[name].bounded(value) if name in self.learn else value

    def __getattr__(self, name: str) -> Any:
        # A strength that is learnt has no attribute of its own.
        return self._strength(name) if name in self.__dict__.get("learn", ()) else super().__getattr__(name)

    def _check_learn(self) -> None:
        known = [name for name in self._names if RANGES[name].learnable]
        for name in self.learn:
            if name not in known:
                raise ValueError(
                    f"learn must name strengths of {type(self).__name__} that can be learnt, "
                    f"{' or '.join(known)}, got {name!r}"
                )

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """The function's weights at this module's strengths; ``mask`` is True where attention is allowed."""
        return self.function(scores, self.dim, mask=mask, **self.strengths)

    if TYPE_CHECKING:  # nn.Module has a call return Any

        def __call__(self, scores: Tensor, mask: Tensor | None = None) -> Tensor: ...

    def extra_repr(self) -> str:
        shown = {name: _shape(value) for name, value in {"dim": self.dim, **self.strengths}.items()}
        learn = {"learn": self.learn} if self.learn else {}
        return ", ".join(f"{name}={value}" for name, value in {**shown, **learn}.items())


def shown(mapping: Any, **settings: Any) -> str:
    """What a module's ``extra_repr`` says of its settings, and of a mapping that is no submodule."""
    own = {} if isinstance(mapping, nn.Module) else {"mapping": getattr(mapping, "__name__", mapping)}
    return ", ".join(f"{name}={_shape(value)}" for name, value in {**own, **settings}.items())


def _shape(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    is_number = value.ndim == 0 and value.device.type != "meta"
    return f"{value.item():.6g}" if is_number else f"tensor of shape {tuple(value.shape)}"


def _unbounded(name: str, value: Strength) -> Tensor:
    """What is learnt in place of a strength."""
    raw = RANGES[name].unbounded(torch.as_tensor(value).detach().clone())
    if not bool(raw.isfinite().all()):
        raise ValueError(
            f"{name} must be strictly inside its range ({RANGES[name]}) to be learnt, got {value}"
        )
    return raw


# ------------------------------------------------------------------ what is known of each
class StrengthSpec(NamedTuple):
    """A strength of a mapping."""

    name: str
    default: float
    range: Range


@dataclass(frozen=True, repr=False)
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
        total: what a row of weights sums to, ``(allowed, **strengths) -> sum``; None if that is 1.
        solver: the operator that solves it; None if it has none of its own.
        has_groups: whether the structure that its solver returns ties positions together.
        paper_name: what the paper calls it, "" if it is not one of the paper's five.
        beside_paper: whether its runs stand in the paper's tables below those of the paper's five.

    Example:
        >>> [name for name, spec in MAPPINGS.items() if spec.has_groups], MAPPINGS["fusedmax"].defaults
        (['fusedmax', 'oscarmax'], {'gamma': 1.0, 'lam': 0.1})
    """

    function: Callable[..., Tensor]
    module: type[Mapping]
    colour: str
    omega: Callable[..., Tensor] | None = None
    certificate: Callable[..., Tensor] | None = None
    total: Callable[..., Tensor] | None = None
    solver: Solver | None = None
    has_groups: bool = False
    paper_name: str = ""
    beside_paper: bool = False

    def __repr__(self) -> str:
        return f"MappingSpec({', '.join([self.name, *(f'{n}={v:g}' for n, v in self.defaults.items())])})"

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
    """Add a mapping to :data:`MAPPINGS`, after those that are there.

    Raises:
        ValueError: a name that is taken, or a strength without a range in ``regattn._checks.RANGES``.
    """
    if spec.name in MAPPINGS:
        raise ValueError(f"a mapping's name must not be taken, got {spec.name!r}")
    unknown = [name for name in spec.defaults if name not in RANGES]
    if unknown:
        raise ValueError(f"strengths must have a range, got {', '.join(unknown)} of {spec.name} without one")
    MAPPINGS[spec.name] = spec


def named(name: str) -> MappingSpec:
    """The spec of the mapping of that name."""
    if name not in MAPPINGS:
        raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}, got {name!r}")
    return MAPPINGS[name]


def as_module(mapping: Any) -> Any:
    """A mapping of its own with the default strengths for a name; what is no name as it is."""
    return named(mapping).module() if isinstance(mapping, str) else mapping


def resolve(mapping: Any, strengths: dict[str, Any]) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """Function and keyword parameters of a mapping given as a function, as a Module or by its name."""
    if isinstance(mapping, Mapping):
        return type(mapping).function, {**mapping.strengths, **strengths}
    if isinstance(mapping, str):
        return named(mapping).function, strengths
    if not callable(mapping):
        raise TypeError(f"mapping must be a function, a module or a name, got {mapping!r}")
    return mapping, strengths


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
