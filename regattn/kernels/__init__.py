"""Solvers of single rows: rows in, rows and structure out; no autograd, no options."""
