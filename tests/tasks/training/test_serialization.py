"""Serialized and read back values are the same, through JSON and for every optimizer."""

import json
import math
from typing import Any

import pytest
import torch

from tasks.training.checkpoint import deserialize, serialize
from tasks.training.state import get_rng_state, set_rng_state


def through_json(value: Any) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(serialize(value, "value", tensors), allow_nan=False)
    return deserialize(json.loads(text), {name: tensor.clone() for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 0.1, 5e-324, math.inf, -math.inf, "λ", [], (), {}, {0: "int", "0": "str"},
        [(1, [2, None]), {"a": {"b": ()}}], {"tensor": "not one"}, {"dict": 1},
    ],
)  # fmt: skip
def test_plain_values(value: Any) -> None:
    found = through_json(value)
    assert found == value and type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(through_json([math.nan])[0])


def test_tensors_are_named_by_their_path() -> None:
    tensors: dict[str, torch.Tensor] = {}
    serialize({"state": {0: {"step": torch.ones(())}}, "list": [torch.zeros(2)]}, "optimizer", tensors)
    assert list(tensors) == ["optimizer.state.0.step", "optimizer.list.0"]


@pytest.mark.parametrize("value", [{1.5: 0}, [object()], {"a": {1, 2}}, b"bytes", {None: 1}])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        serialize(value, "value", {})


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1),
    ],
)
def test_optimizers_continue(build: Any) -> None:
    def steps(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()

    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = build([parameter])
    steps(parameter, optimizer)
    twin = torch.nn.Parameter(parameter.detach().clone())
    copied = build([twin])
    copied.load_state_dict(through_json(optimizer.state_dict()))
    steps(parameter, optimizer)
    steps(twin, copied)
    assert torch.equal(parameter, twin)


def test_the_schedulers_of_torch_continue() -> None:
    def fresh() -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)

    scheduler, twin = fresh(), fresh()
    twin.load_state_dict(through_json(scheduler.state_dict()))
    assert twin.best == math.inf


def test_random_state_of_every_generator() -> None:
    import random

    import numpy as np

    np.random.standard_normal()  # leaves a second normal number cached
    state = through_json(get_rng_state())
    draws = [(torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.random())]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    set_rng_state(state)
    draws.append((torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.random()))
    assert draws[0] == draws[1]
