"""fusedmax: attention on contiguous segments."""

from __future__ import annotations

from torch import Tensor

from regattn._checks import check_scores, check_strengths
from regattn._mapping import Mapping
from regattn._operators import solve_along
from regattn._partition import define_partition_solver
from regattn.kernels import cpu

solve_fusedmax = define_partition_solver("fusedmax", "float gamma, float lam", cpu.fusedmax, on_simplex=True)


def fusedmax(
    scores: Tensor, dim: int = -1, *, gamma: float = 1.0, lam: float = 0.1, mask: Tensor | None = None
) -> Tensor:
    r"""Map scores to sparse weights in which neighbouring positions tend to share one value.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \gamma \Bigl(\tfrac12 \lVert y \rVert^2 + \lambda \sum_i |y_{i+1} - y_i|\Bigr)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter.
        lam: strength of the ties between neighbours, at least 0; 0 gives :func:`sparsemax`.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed. Positions on
            both sides of a masked one are neighbours of each other.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.
        Where segments are about to part, the derivative is that of the segments still joined.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``lam < 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> fusedmax(torch.tensor([1.0, 2.1, 1.9]), lam=0.1)
        tensor([0.0000, 0.5000, 0.5000])

    Source: Niculae & Blondel (2017), section 3.
    """
    check_scores(scores, dim, mask)
    check_strengths(gamma=gamma, lam=lam)
    return solve_along(solve_fusedmax, scores, dim, mask, gamma, lam)


class Fusedmax(Mapping):
    """Module form of :func:`fusedmax`."""

    function = staticmethod(fusedmax)

    def __init__(self, dim: int = -1, *, gamma: float = 1.0, lam: float = 0.1) -> None:
        super().__init__(dim, gamma=gamma, lam=lam)
