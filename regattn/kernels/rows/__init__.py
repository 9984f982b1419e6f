"""Compiled row solvers for the CPU: exact, float64 inside, in time that grows with the support.

Every solver ``solver(start, stop, scores, mask, masked, …, values, structure)`` works on the rows from
``start`` to ``stop`` of C-contiguous arrays of shape (rows, d):

- ``scores``: float32 or float64;
- ``mask``: bool of the same shape, read only if ``masked``; a position without it, or at −inf,
  takes no part;
- strengths such as ``gamma``: float64 of shape (1,), or (rows,) where each row has its own;
- ``values``: the solution, of the scores' type;
- ``structure``: which positions have a derivative and which share one, of shape (rows, 2 + d): the
  number of such members, the number of groups, then one entry for each member, group after group,
  ``4·position + 2·(its sign is negative) + (it is the first of its group)``. Nothing behind these
  is read or written: what a sparse row costs depends on its support.

A row with NaN or +inf, or with strengths outside their range, comes out NaN; its number of members
is ``POISONED``.

Most scores can be seen to get weight 0 from a lower bound on the threshold τ. So a row is read once
for its maximum and once for its survivors, both in vector instructions, and only these are solved.
"""

from regattn.kernels.rows.building_blocks import isotonic_regression, prox_oscar, prox_tv1d
from regattn.kernels.rows.derivatives import group_average, labels
from regattn.kernels.rows.fusedmax import fusedmax
from regattn.kernels.rows.oscarmax import oscarmax
from regattn.kernels.rows.parallel import share
from regattn.kernels.rows.pnormmax import pnormmax, pnormmax_product
from regattn.kernels.rows.reading import POISONED
from regattn.kernels.rows.simplex import sparsemax

__all__ = [
    "POISONED",
    "fusedmax",
    "group_average",
    "isotonic_regression",
    "labels",
    "oscarmax",
    "pnormmax",
    "pnormmax_product",
    "prox_oscar",
    "prox_tv1d",
    "share",
    "sparsemax",
]
