"""A model that is too large is refused before its weights are filled; tied weights count once."""

import pytest
from torch import nn

from tasks.training import model_size
from tasks.training.model_size import bounded_size


def tied() -> nn.Module:
    model = nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)])
    model[1].weight = model[0].weight
    model.register_parameter("again", model[0].weight)
    return model


def test_weights_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_size, "MOST_WEIGHTS", 80)
    with bounded_size():
        tied()
    with bounded_size():  # begins anew
        tied()
    monkeypatch.setattr(model_size, "MOST_WEIGHTS", 79)
    with pytest.raises(ValueError, match="at most 79 weights, got 80 or more"), bounded_size():
        tied()
    tied()  # outside nothing is bounded


def test_tensors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_size, "MOST_TENSORS", 8)
    with bounded_size():
        nn.GRU(2, 2, num_layers=2)
    with pytest.raises(ValueError, match="at most 8 tensors of weights, got more"), bounded_size():
        nn.GRU(2, 2, num_layers=10**9)
