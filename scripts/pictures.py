"""Attention on paper: weights as shaded cells, merged groups outlined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


def draw_attention(
    path: Path,
    weights: np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    groups: np.ndarray,
    title: str,
) -> None:
    """Save a grid of weights (targets, sources), zeros white, runs of a merged group in one border.

    Raises:
        ValueError: the words do not fit the weights.
    """
    if weights.shape != (len(target), len(source)) or groups.shape != weights.shape:
        wanted = (len(target), len(source))
        raise ValueError(
            f"weights and groups must have shape {wanted}, got {weights.shape} and {groups.shape}"
        )
    figure = Figure(figsize=(1.5 + 0.45 * len(source), 1.6 + 0.45 * len(target)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.where(weights > 0, weights, np.nan), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(len(source)), source, rotation=60, ha="right")
    axes.set_yticks(range(len(target)), target)
    axes.set_title(title)
    for row, labels in enumerate(groups):
        edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for start, stop in zip(edges, edges[1:], strict=False):
            if labels[start]:
                axes.add_patch(Rectangle((start - 0.5, row - 0.5), stop - start, 1, fill=False, lw=1.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None} if path.suffix == ".png" else None)
