"""What the Module forms of all mappings have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from regattn._checks import Strength, check_strengths


class Mapping(nn.Module):
    """A mapping that remembers its dimension and strengths.

    Attributes:
        function: the mapping as a function.
        dim: dimension of the positions attended to.
        strengths: its keyword parameters, such as ``{"gamma": 1.0, "lam": 0.1}``; each is an
            attribute too. One that is an ``nn.Parameter`` is learnt, another tensor is a buffer.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, dim: int = -1, **strengths: Strength) -> None:
        super().__init__()
        check_strengths(**{name: value for name, value in strengths.items() if not isinstance(value, Tensor)})
        self.dim = dim
        self._names = tuple(strengths)
        for name, value in strengths.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    @property
    def strengths(self) -> dict[str, Strength]:
        return {name: getattr(self, name) for name in self._names}

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.function(scores, self.dim, mask=mask, **self.strengths)

    def extra_repr(self) -> str:
        shown = {name: _shape(value) for name, value in {"dim": self.dim, **self.strengths}.items()}
        return ", ".join(f"{name}={value}" for name, value in shown.items())


def _shape(value: Any) -> Any:
    return f"tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) and value.ndim else value


def resolve(mapping: Any, strengths: dict[str, Any]) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """Function and keyword parameters of a mapping given as a function or as a Module."""
    if isinstance(mapping, Mapping):
        return type(mapping).function, {**mapping.strengths, **strengths}
    return mapping, strengths
