"""Sparse and structured attention: mappings from scores to weights on the simplex, exact, in PyTorch."""

__version__ = "0.1.0"

from regattn._attention import AdditiveScorer, Attention, BilinearScorer, DotScorer
from regattn._certify import certify
from regattn._entmax import ENTMAX15, Entmax15, entmax15
from regattn._fusedmax import FUSEDMAX, Fusedmax, fusedmax
from regattn._groups import groups
from regattn._multihead import MultiheadAttention
from regattn._oscarmax import (
    OSCARMAX,
    OSCARMAX_PUBLISHED,
    Oscarmax,
    OscarmaxPublished,
    oscarmax,
    oscarmax_published,
)
from regattn._plot import plot
from regattn._pnormmax import PNORMMAX, PNormmax, pnormmax
from regattn._prox import isotonic_regression, project_simplex, prox_oscar, prox_tv1d
from regattn._registry import MAPPINGS, Mapping, MappingSpec, register
from regattn._regularized_max import Pi_Omega, fenchel_young_loss, max_omega, regularized_argmax
from regattn._scaled_dot_product import scaled_dot_product_attention
from regattn._softmax import SOFTMAX, Softmax, softmax
from regattn._sparsemax import SPARSEMAX, Sparsemax, sparsemax

__all__ = [
    "MAPPINGS",
    "AdditiveScorer",
    "Attention",
    "BilinearScorer",
    "DotScorer",
    "Entmax15",
    "Fusedmax",
    "Mapping",
    "MappingSpec",
    "MultiheadAttention",
    "Oscarmax",
    "OscarmaxPublished",
    "PNormmax",
    "Pi_Omega",
    "Softmax",
    "Sparsemax",
    "certify",
    "entmax15",
    "fenchel_young_loss",
    "fusedmax",
    "groups",
    "isotonic_regression",
    "max_omega",
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
]

for _spec in (SOFTMAX, SPARSEMAX, FUSEDMAX, OSCARMAX, PNORMMAX, OSCARMAX_PUBLISHED, ENTMAX15):
    register(_spec)
