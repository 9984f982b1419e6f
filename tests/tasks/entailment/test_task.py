"""Entailment as the trainer sees it: batches, metric_sums, metrics."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import regattn
from tasks.data.cache import Items
from tasks.entailment.data import LABELS, Pair, load_folder
from tasks.entailment.mini import generate
from tasks.entailment.model import EntailmentOutput
from tasks.entailment.task import MODELS, PAIR, EntailmentTask, Tally, batch_of, build, words_of
from tasks.training.callbacks import Callback, StepEvent
from tasks.training.fit import fit
from tasks.training.optim import Adam
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings

CORPUS = generate(train=300, dev=60, test=60)


def small(batch_size: int = 32, seed: int = 1, **options: object) -> EntailmentTask:
    return build(
        CORPUS, regattn.Fusedmax(), seed, torch.device("cpu"), hidden_size=8, batch_size=batch_size, **options
    )


def test_an_epoch_has_every_pair_once_in_an_order_of_its_own() -> None:
    task = small()
    first, second = ([i for batch in task.train_batches(epoch) for i in batch] for epoch in (1, 2))
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second
    assert task.train_batches(1) == small().train_batches(1)


def test_tallies_count_the_batch() -> None:
    task = small()
    batch = task.train_batches(1)[0]
    loss, metric_sums = task.step(batch)
    pairs = [CORPUS.splits["train"][i] for i in batch]
    assert metric_sums["examples"] == len(pairs)
    assert metric_sums["tokens"] == sum(len(p.premise) + len(p.hypothesis) for p in pairs)
    assert 0 <= metric_sums["correct"] <= len(pairs)
    assert loss.requires_grad and loss.ndim == 0


def test_metrics_do_not_depend_on_the_evaluation_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small()
    whole = task.evaluate("dev")
    monkeypatch.setattr("tasks.entailment.task._EVALUATION_BATCH", 7)
    assert task.evaluate("dev") == pytest.approx(whole, abs=1e-6)
    assert not task.model.training


def test_answers_and_items_stand_as_the_corpus_does() -> None:
    """In its order, whatever order the pairs are evaluated in, or two runs could not be paired."""
    task = small()
    with torch.no_grad():  # a model that gives every answer
        for weight in task.model.parameters():
            weight.mul_(9)
    accuracy = task.evaluate("test")["accuracy"]
    pairs = CORPUS.splits["test"]
    alone = [task.model(*batch_of([pair], task.vocabulary, "cpu"))[0].argmax().item() for pair in pairs]
    assert set(alone) == set(range(len(LABELS)))
    assert task.outputs["test"] == [LABELS[label] for label in alone]
    right = task.items["test"]["accuracy"]
    assert right == [label == pair.label for label, pair in zip(alone, pairs, strict=True)]
    assert 0 < sum(right) < len(right) and sum(right) / len(right) == accuracy


def test_attention_is_shown_over_words_of_this_project() -> None:
    assert small().example().source == [*CORPUS.splits["test"][0].premise]
    task = small()
    task.corpus = replace(CORPUS, synthetic=False)
    assert task.example().source == [*PAIR.premise]


def test_the_seed_decides_the_weights() -> None:
    one, again, other = (small(seed=seed).model.project.weight for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_tally_by_hand() -> None:
    tally = Tally()
    pairs = [Pair(("a", "b"), ("c",), 0, (1, 2)), Pair(("a", "b", "c", "d"), ("c",), 2)]
    logits = torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    weights = torch.tensor([[0.25, 0.75, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]])
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    groups = torch.tensor([[1, 2, 0, 0], [1, 0, 1, 0]])
    whole = torch.ones(2, 1).bool()
    tally.add(pairs, EntailmentOutput(logits, weights.unsqueeze(1), mask, groups.unsqueeze(1), whole))
    metrics = tally.metrics()
    assert (metrics["segments"], metrics["groups"]) == (2, 1.5)
    assert metrics["accuracy"] == 0.5
    assert metrics["zero_share"] == pytest.approx((0 + 2 / 4) / 2)
    assert metrics["evidence_mass"] == 0.75
    log_total = torch.logsumexp(logits[0], 0).item()
    assert metrics["loss"] == pytest.approx(((log_total - 5) + (log_total - 0)) / 2)


def test_a_tally_counts_the_queries_that_are_words() -> None:
    tally = Tally()
    pairs = [Pair(("a", "b"), ("c", "d"), 0, (1, 2)), Pair(("a", "b"), ("c",), 0, (0, 1))]
    weights = torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])
    mask, is_query = torch.ones(2, 2).bool(), torch.tensor([[True, True], [True, False]])
    tally.add(pairs, EntailmentOutput(torch.zeros(2, 3), weights, mask, (weights > 0).long(), is_query))
    metrics = tally.metrics()
    assert metrics["evidence_mass"] == (0.75 + 1) / 2
    assert metrics["one_word_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("model", MODELS)
def test_attention_is_shown_for_every_query(model: str) -> None:
    task = small(model=model)
    grid = task.example()
    hypothesis = CORPUS.splits["test"][0].hypothesis
    assert (
        len(grid.target)
        == len(grid.weights)
        == len(grid.groups)
        == (1 if model == "recurrent" else len(hypothesis))
    )
    assert " ".join(grid.target).startswith(f"{' '.join(hypothesis)} → ")


@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns(model: str) -> None:
    task = small(model=model)
    optimizer, losses = torch.optim.Adam(task.model.parameters(), 0.01), []
    for _ in range(80):
        loss, _ = task.step(list(range(32)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


class Stop(Callback):
    """Ends a training in the middle of its second epoch."""

    def on_step(self, event: StepEvent) -> None:
        if event.step == 13:
            raise KeyboardInterrupt


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_was_stopped_is_the_one_that_was_not(model: str, tmp_path: Path) -> None:
    def train(folder: str, *callbacks: Callback) -> dict[str, torch.Tensor]:
        mapping = regattn.Fusedmax(learn=("gamma", "lam"))
        task = build(CORPUS, mapping, 1, torch.device("cpu"), model=model, hidden_size=8, batch_size=32)
        optimizer, _ = Adam(lr=0.01).build(task.model.parameters(), 20)
        settings = TrainerSettings(epochs=2, checkpoint_every=4)
        with RunDirectory(tmp_path / folder) as run:
            fit(task, optimizer, settings, run, config_hash="", callbacks=callbacks)
        return task.model.state_dict()

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", Stop())
    resumed = train("stopped")
    assert "attention.mapping.raw_gamma" in whole
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="model must be one of recurrent, decomposable, got 'tree'"):
        small(model="tree")


def test_without_known_evidence_there_is_no_such_metric() -> None:
    tally = Tally()
    row = torch.ones(1, 1)
    grid = row.unsqueeze(0)
    found = EntailmentOutput(torch.zeros(1, 3), grid, row.bool(), grid.long(), row.bool())
    tally.add([Pair(("a",), ("b",), 1)], found)
    assert "evidence_mass" not in tally.metrics()


def test_the_vocabulary_has_every_word_of_every_split() -> None:
    vocabulary, lengths = words_of(CORPUS)
    assert lengths.tolist() == [len(pair.premise) for pair in CORPUS.splits["train"]]
    words = {w for pairs in CORPUS.splits.values() for p in pairs for w in (*p.premise, *p.hypothesis)}
    assert words == set(vocabulary.words[2:])


def test_a_held_out_word_counts_as_one_seen_once() -> None:
    def pair(*words: str) -> Pair:
        return Pair(words, words, 0)

    train = [pair("often", "often", "twice"), pair("often")]
    held_out = [pair("new", "new", "twice", "twice", "twice", "twice")] * 3
    splits = {"train": train, "dev": held_out, "test": held_out}
    assert words_of(replace(CORPUS, splits=splits)).vocabulary.words[2:] == ("often", "twice", "new")


def test_a_later_start_reads_no_training_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, pairs in CORPUS.splits.items():
        rows = (
            {"premise": " ".join(p.premise), "hypothesis": " ".join(p.hypothesis), "label": p.label}
            for p in pairs
        )
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def start(prepared: Path | None) -> tuple[object, ...]:
        corpus = load_folder(tmp_path, prepared=prepared)
        task = build(corpus, regattn.Softmax(), 1, torch.device("cpu"), hidden_size=4)
        return task.vocabulary.words, task.train_batches(3)

    wanted = start(None)
    assert start(tmp_path / "cache") == wanted
    monkeypatch.setattr(Items, "stored", None)
    assert start(tmp_path / "cache") == wanted


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(
        ValueError, match="batch_size must be an integer of at least 1 and at most 65,536, got 0"
    ):
        small(batch_size=0)
