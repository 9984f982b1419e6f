"""What is seen of attention while it is trained, and that seeing changes nothing."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import regattn
from tasks import attention
from tasks.attention import EVERY, AttentionMonitor, AttentionTally, gamma_times, warning
from tests.tasks.training.tiny_run import STEPS_PER_EPOCH, Recorder, TinyModel, TinyTask, train


class Reader(nn.Module):
    """Attends several times over the same words."""

    def __init__(self, mapping: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.attention = regattn.Attention(regattn.BilinearScorer(6, 6), mapping)
        self.queries, self.words = torch.randn(3, 4, 1, 6), torch.randn(4, 7, 6)
        self.mask = torch.arange(7) < torch.tensor([7, 5, 2, 1])[:, None, None]

    def forward(self) -> Tensor:
        return sum(
            (self.attention(query, self.words, mask=self.mask)[0].sum() for query in self.queries),
            torch.zeros(()),
        )


@pytest.mark.parametrize("spec", regattn.MAPPINGS.values(), ids=lambda spec: spec.name)
def test_figures_are_those_of_all_rows_and_weights(spec: regattn.MappingSpec) -> None:
    model = Reader(spec.module())
    with AttentionMonitor(model).watch(0) as figures:
        model().backward()
    tally, scorer = AttentionTally(), model.attention.scorer
    for query in model.queries:
        scores, mask = scorer(query, model.words).squeeze(1), model.mask.squeeze(1)
        groups = regattn.groups(scores, spec.function, mask=mask)
        tally.add(spec.function(scores, mask=mask), mask, groups)
    gradient = figures.pop("scorer_gradient")
    assert figures == pytest.approx(tally.metrics())
    assert gradient == pytest.approx(scorer.project.weight.grad.norm().item())


def test_other_steps_are_not_looked_at() -> None:
    model = Reader(regattn.Sparsemax())
    monitor = AttentionMonitor(model)
    for step in (1, EVERY - 1, EVERY + 1):
        with monitor.watch(step) as figures:
            model().backward()
        assert figures == {}
    with monitor.watch(EVERY):
        pass
    assert not model.attention.mapping._forward_hooks


def test_looking_at_every_step_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for every in (1, 10**9):
        monkeypatch.setattr(attention, "EVERY", every)
        _, task = train(tmp_path / str(every))
        weights.append(task.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


class Flat(TinyModel):
    """One whose attention stays fused whole."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = regattn.Fusedmax(lam=1e6)


def test_a_run_says_once_that_all_is_fused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "EVERY", 1)
    task, recorder = TinyTask(), Recorder()
    task.model = Flat()
    result, _ = train(tmp_path, task=task, callback=recorder)
    notes = [note for event in recorder.events for note in getattr(event, "notes", ())]
    assert len(notes) == 1 and "100% of the rows of attention are fused whole" in notes[0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines if line["event"] == "warning"] == notes
    assert sum(line["event"] == "attention" for line in lines) == 24
    assert [epoch["attention"]["fused_share"] for epoch in result.history] == [1.0, 1.0, 1.0]


def test_warnings_name_what_is_wrong_and_what_helps() -> None:
    alone, fused = {"one_word_share": 0.4}, {"fused_share": 0.95}
    assert "larger attention.gamma" in str(warning(alone, 5, epoch=1, step=81))
    assert "smaller attention.lam" in str(warning(fused, 5, epoch=3, step=5_000))
    assert warning(alone, 5, epoch=2, step=181) is None  # by then it may be what was learnt
    assert warning(alone, 5, epoch=1, step=1_001) is None
    assert warning({"one_word_share": 0.3, "fused_share": 0.8}, 5, epoch=1, step=81) is None
    assert warning(alone | fused, 4, epoch=1, step=61) is None


class Annealed(TinyModel):
    """One that keeps the strengths of each use of its mapping, with whether it was in training."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = regattn.Fusedmax(gamma=0.5, lam=0.1)
        self.used: list[tuple[bool, float, float]] = []
        self.mapping.register_forward_hook(self._keep)

    def _keep(self, mapping: regattn.Fusedmax, *_: object) -> None:
        self.used.append((mapping.training, mapping.gamma, mapping.lam))


def test_gamma_falls_to_its_value_in_one_epoch(tmp_path: Path) -> None:
    task = TinyTask()
    task.model = model = Annealed()
    train(tmp_path, task=task, epochs=2, anneal_gamma=16.0)
    factors = [16.0 ** (1 - step / STEPS_PER_EPOCH) for step in range(STEPS_PER_EPOCH)] + [
        1.0
    ] * STEPS_PER_EPOCH
    in_training = [(gamma, lam) for training, gamma, lam in model.used if training]
    assert in_training == [(0.5 * factor, 0.1 / factor) for factor in factors]
    assert {(gamma, lam) for training, gamma, lam in model.used if not training} == {(0.5, 0.1)}


def test_gamma_is_put_back_whatever_happens_inside() -> None:
    model = Annealed()
    with pytest.raises(KeyError), gamma_times(4.0, model):
        assert model.mapping.strengths == {"gamma": 2.0, "lam": 0.025}
        raise KeyError
    assert model.mapping.strengths == {"gamma": 0.5, "lam": 0.1}


@pytest.mark.parametrize("name", ["gamma", "lam"])
def test_strengths_that_are_learnt_are_not_annealed(name: str) -> None:
    mapping = regattn.Fusedmax(learn=(name,))
    with pytest.raises(ValueError, match=f"^{name} must be a number where anneal_gamma is not null, got one"):
        gamma_times(2.0, mapping).__enter__()
    with gamma_times(1.0, mapping):
        pass
