"""Solvers of rows: tensors in, values and structure out; no autograd, no defaults."""

LONGEST_ON_CUDA = 8192
"""Positions of a row."""
