"""Solvers of rows: tensors in, values and structure out; no autograd, no defaults."""
