"""Every number outside its range, and a model that is too large, is refused in one sentence."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tasks.training import settings
from tasks.training.settings import TrainerSettings, bounded_size

COUNTS = ["epochs", "max_steps", "patience", "dev_items", "test_items", "checkpoint_every", "threads"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", math.nan])
def test_counts(name: str, value: Any) -> None:
    most = " and at most 1,024" if name == "threads" else ""
    with pytest.raises(ValueError, match=f"^{name} must be an integer of at least 1{most}, got {value!r}$"):
        TrainerSettings(**{"epochs": 1, name: value})


def test_more_threads_than_a_machine_starts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^threads must be .* and at most 1,024, got 1025$"):
        TrainerSettings(epochs=1, threads=1025)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "1", True])
def test_clip_norm(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^clip_norm must be a number above 0 and finite, got {value!r}$"):
        TrainerSettings(epochs=1, clip_norm=value)


@pytest.mark.parametrize("value", [0.5, 1_001, float("nan"), True])
def test_anneal_gamma(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^anneal_gamma must be a number of at least 1 .*, got {value!r}$"):
        TrainerSettings(epochs=1, anneal_gamma=value)


@pytest.mark.parametrize("value", [-1, 2**32, 0.5])
def test_seed(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^seed must be .*, got {value!r}$"):
        TrainerSettings(epochs=1, seed=value)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="device must be one of cpu, cuda, auto, got 'gpu'"):
        TrainerSettings(epochs=1, device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TrainerSettings(epochs=1, device="auto").torch_device() == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device must be cpu or auto where .*, got cuda"):
        TrainerSettings(epochs=1, device="cuda").torch_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainerSettings(epochs=1, device="auto").torch_device() == torch.device("cuda")


def test_the_last_epoch_is_kept_without_patience_alone() -> None:
    with pytest.raises(ValueError, match="keep must be one of best, last, got 'first'"):
        TrainerSettings(epochs=1, keep="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patience must be null where keep is last, got 5"):
        TrainerSettings(epochs=1, keep="last", patience=5)


def test_precision() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, got 'float16'"):
        TrainerSettings(epochs=1, precision="float16")


def test_what_a_machine_cannot_do_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, asked = torch.device("cpu"), TrainerSettings(epochs=1, precision="bfloat16", threads=1_024)
    monkeypatch.setattr(settings, "available_cores", lambda: 3)
    monkeypatch.setattr(settings, "_lstm_error", lambda device, dtype: None)
    able, notes = asked.on_this_machine(cpu)
    assert (able.precision, able.threads) == ("bfloat16", 3)
    assert notes == ["threads 3 instead of 1024: this process may use no more cores"]
    monkeypatch.setattr(settings, "_lstm_error", lambda device, dtype: "no primitive")
    able, notes = asked.on_this_machine(cpu)
    assert able.precision == "float32"
    assert notes[0] == "precision float32 instead of bfloat16, which LSTMs lack on this cpu"
    with pytest.raises(ValueError, match=r"device must be one that this build of torch .*, got no primitive"):
        asked.on_this_machine(torch.device("cuda"))


def test_asking_the_machine_draws_nothing() -> None:
    state = torch.get_rng_state()
    settings._lstm_error.__wrapped__(torch.device("cpu"), torch.bfloat16)
    assert torch.equal(state, torch.get_rng_state())
    assert settings._lstm_error.__wrapped__(torch.device("cpu"), torch.float32) is None


def test_good_numbers_are_kept() -> None:
    TrainerSettings(epochs=1, max_steps=1, patience=1, clip_norm=1, checkpoint_every=1, seed=0, threads=1)


def tied() -> nn.Module:
    model = nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)])
    model[1].weight = model[0].weight
    model.register_parameter("again", model[0].weight)
    return model


def test_weights_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MOST_WEIGHTS", 80)
    with bounded_size():
        tied()
    with bounded_size():  # begins anew
        tied()
    monkeypatch.setattr(settings, "MOST_WEIGHTS", 79)
    with pytest.raises(ValueError, match="at most 79 weights, got 80 or more"), bounded_size():
        tied()
    tied()  # outside nothing is bounded


def test_tensors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MOST_TENSORS", 8)
    with bounded_size():
        nn.GRU(2, 2, num_layers=2)
    with pytest.raises(ValueError, match="at most 8 tensors of weights, got more"), bounded_size():
        nn.GRU(2, 2, num_layers=10**9)
