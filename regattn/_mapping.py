"""What the Module forms of all mappings have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from regattn._checks import check_strengths


class Mapping(nn.Module):
    """A mapping that remembers its dimension and strengths.

    Attributes:
        function: the mapping as a function.
        dim: dimension of the positions attended to.
        strengths: its keyword parameters, such as ``{"gamma": 1.0, "lam": 0.1}``.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, dim: int = -1, **strengths: float) -> None:
        super().__init__()
        check_strengths(**strengths)
        self.dim = dim
        self.strengths = strengths

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.function(scores, self.dim, mask=mask, **self.strengths)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in {"dim": self.dim, **self.strengths}.items())


def resolve(mapping: Any, strengths: dict[str, Any]) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """Function and keyword parameters of a mapping given as a function or as a Module."""
    if isinstance(mapping, Mapping):
        return type(mapping).function, {**mapping.strengths, **strengths}
    return mapping, strengths
