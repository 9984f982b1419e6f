"""Recurrent networks that run over whole sequences and step by step with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CELLS: dict[str, tuple[Callable[..., nn.RNNBase], Any]] = {
    # The functions behind nn.LSTMCell and nn.GRUCell, which take the weights that the sequence form owns.
    "lstm": (nn.LSTM, torch.lstm_cell),
    "gru": (nn.GRU, torch.gru_cell),
}

States = tuple[Tensor, ...]
"""The state of all layers: (layers, rows, hidden), one tensor for a GRU, hidden and cell for an LSTM."""


class Recurrent(nn.Module):
    """Layers of LSTM or GRU, left to right.

    Args:
        cell: a key of ``CELLS``.
        input_size: size of the inputs.
        hidden_size: size of every layer's state.
        layers: at least 1.
        dropout: share dropped between layers, in training.

    Raises:
        ValueError: another cell.
    """

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sequence, self._step = cell_of(cell)
        # torch warns of a dropout that has no layers to stand between.
        between = dropout if layers > 1 else 0.0
        self.sequence = sequence(input_size, hidden_size, layers, batch_first=True, dropout=between)

    def forward(self, inputs: Tensor, start: States) -> tuple[Tensor, States]:
        """Run over ``inputs`` (rows, steps, input_size): the top layer's states, all layers' last ones."""
        outputs, last = self.sequence(inputs, join(start))
        return outputs, split(last)

    def step(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Go one step on ``inputs`` (rows, input_size): the top layer's new state, and all layers'."""
        new = []
        for layer, weights in enumerate(self.sequence.all_weights):
            state = self._step(inputs, join(tuple(s[layer] for s in states)), *weights)
            new.append(split(state))
            inputs = new[-1][0]
            if layer + 1 < self.sequence.num_layers:
                inputs = nn.functional.dropout(inputs, self.sequence.dropout, self.training)
        return new[-1][0], tuple(torch.stack(kind) for kind in zip(*new, strict=True))


def cell_of(name: str) -> tuple[Callable[..., nn.RNNBase], Any]:
    """Sequence form and step function of a cell."""
    if name not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {name!r}")
    return CELLS[name]


def split(state: Tensor | tuple[Tensor, ...]) -> States:
    """The state as a tuple, as torch gives it for an LSTM alone."""
    return state if isinstance(state, tuple) else (state,)


def join(states: States) -> Tensor | States:
    """The state as torch takes it: a tuple for an LSTM alone."""
    return states if len(states) > 1 else states[0]
