"""One style for every plot: benchmarks, learning curves, figures."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers. A colour is a problem, whoever solves it.
COLOURS = {
    "softmax": "#000000",
    "sparsemax": "#0072B2",
    "fusedmax": "#D55E00",
    "oscarmax": "#009E73",
    "pnormmax": "#CC79A7",
    "": "#8a8a8a",
}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
}
_WIDTH = 6.0  # inches; with the names beside it, the column of a README


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A figure of this height in inches."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.add_subplot()
