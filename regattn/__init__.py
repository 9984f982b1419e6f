"""Sparse and structured attention: mappings from scores to weights on the simplex, exact, in PyTorch.

A mapping is called ``f(scores, dim=-1, *, gamma=1.0, …, mask=None)`` and has a Module, as :func:`fusedmax`
has :class:`Fusedmax`; :data:`MAPPINGS` lists them with what is known of each. Losses take the arguments of
``cross_entropy``; :func:`scaled_dot_product_attention`, :class:`MultiheadAttention`, :class:`Attention` and
``regattn.huggingface`` put mappings into models; :func:`certify` proves an answer, :func:`plot` draws it.

Example:
    >>> import torch, regattn
    >>> regattn.fusedmax(torch.tensor([1.0, 2.1, 1.9, -0.5, 1.8]), lam=0.1)
    tensor([0.0000, 0.4000, 0.4000, 0.0000, 0.2000])
"""

__version__ = "0.1.0"

from regattn._attention import AdditiveScorer, Attention, BilinearScorer, DotScorer
from regattn._budget import BUDGET, Budget, budget
from regattn._certify import certify
from regattn._entmax import ENTMAX, ENTMAX15, Entmax, Entmax15, entmax, entmax15
from regattn._fusedmax import FUSEDMAX, Fusedmax, fusedmax
from regattn._groups import groups, plot
from regattn._losses import (
    Entmax15Loss,
    EntmaxLoss,
    FenchelYoungLoss,
    NormmaxLoss,
    SparsemaxLoss,
    entmax15_loss,
    entmax_loss,
    fenchel_young_loss,
    normmax_loss,
    sparsemax_loss,
)
from regattn._multihead import MultiheadAttention
from regattn._normmax import NORMMAX, Normmax, normmax
from regattn._oscarmax import (
    OSCARMAX,
    OSCARMAX_PUBLISHED,
    Oscarmax,
    OscarmaxPublished,
    oscarmax,
    oscarmax_published,
)
from regattn._pnormmax import PNORMMAX, PNormmax, pnormmax
from regattn._prox import isotonic_regression, project_simplex, prox_oscar, prox_tv1d
from regattn._registry import MAPPINGS, Mapping, MappingSpec, register
from regattn._regularized_max import Pi_Omega, max_omega, regularized_argmax
from regattn._scaled_dot_product import scaled_dot_product_attention
from regattn._softmax import SOFTMAX, Softmax, softmax
from regattn._sparsemax import SPARSEMAX, Sparsemax, sparsemax

__all__ = [
    "MAPPINGS",
    "AdditiveScorer",
    "Attention",
    "BilinearScorer",
    "Budget",
    "DotScorer",
    "Entmax",
    "Entmax15",
    "Entmax15Loss",
    "EntmaxLoss",
    "FenchelYoungLoss",
    "Fusedmax",
    "Mapping",
    "MappingSpec",
    "MultiheadAttention",
    "Normmax",
    "NormmaxLoss",
    "Oscarmax",
    "OscarmaxPublished",
    "PNormmax",
    "Pi_Omega",
    "Softmax",
    "Sparsemax",
    "SparsemaxLoss",
    "budget",
    "certify",
    "entmax",
    "entmax15",
    "entmax15_loss",
    "entmax_loss",
    "fenchel_young_loss",
    "fusedmax",
    "groups",
    "isotonic_regression",
    "max_omega",
    "normmax",
    "normmax_loss",
    "oscarmax",
    "oscarmax_published",
    "plot",
    "pnormmax",
    "project_simplex",
    "prox_oscar",
    "prox_tv1d",
    "regularized_argmax",
    "scaled_dot_product_attention",
    "softmax",
    "sparsemax",
    "sparsemax_loss",
]

for _spec in (
    SOFTMAX,
    SPARSEMAX,
    FUSEDMAX,
    OSCARMAX,
    PNORMMAX,
    OSCARMAX_PUBLISHED,
    ENTMAX15,
    ENTMAX,
    NORMMAX,
    BUDGET,
):
    register(_spec)
