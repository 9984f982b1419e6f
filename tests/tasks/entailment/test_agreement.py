"""Agreement of attention with people: average precision with ties, and segments against random ones."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import regattn
from tasks.entailment.agreement import AgreementTally, average_precision, explained_words, phrase_edges
from tasks.entailment.data import Pair, load_folder
from tasks.entailment.mini import generate
from tasks.entailment.task import build

PREMISE = ("a", "small", "dog", "runs", "through", "the", "wet", "grass", ".")


def mean_over_orders(weights: list[float], relevant: list[bool]) -> float:
    """Average precision, as its definition has it, over all orders of equal weights."""
    found = []
    for order in itertools.permutations(range(len(weights))):
        if all(weights[a] >= weights[b] for a, b in itertools.pairwise(order)):
            hits = [place for place, n in enumerate(order, 1) if relevant[n]]
            found.append(np.mean([count / place for count, place in enumerate(hits, 1)]))
    return float(np.mean(found))


@pytest.mark.parametrize("relevant", [(1, 0, 0, 0, 0), (0, 0, 1, 0, 1), (1, 1, 0, 1, 1), (1,) * 5])
@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2, 0, 0), (0, 0, 0.5, 0.5, 0), (0.2,) * 5, (0, 0, 0, 0, 1)])
def test_average_precision_is_its_mean_over_orders_of_ties(
    weights: tuple[float, ...], relevant: tuple[int, ...]
) -> None:
    marks = [bool(mark) for mark in relevant]
    assert average_precision(weights, marks) == pytest.approx(mean_over_orders(list(weights), marks))


def test_uniform_weights_agree_as_the_baselines_say() -> None:
    tally = AgreementTally()
    pair = Pair(PREMISE, ("x",), 0, explained=explained_words(PREMISE, ["the DOG's wet", "grass"]))
    assert [PREMISE[n] for n in sorted(pair.explained)] == ["dog", "wet", "grass"]
    tally.add([pair], torch.full((1, 12), 1 / 9), torch.zeros(1, 1, 12, dtype=torch.long))
    found = tally.metrics()
    assert found["explained_mass"] == pytest.approx(found["explained_mass_uniform"]) == pytest.approx(3 / 9)
    assert found["explained_ap"] == pytest.approx(found["explained_ap_random"])
    assert not any(name.startswith("edges") for name in found)


def test_weight_on_explained_words_is_perfect_agreement() -> None:
    tally, weights = AgreementTally(), torch.zeros(1, 9)
    weights[0, 2] = 1
    tally.add([Pair(PREMISE, ("x",), 0, explained=frozenset({2}))], weights, torch.ones(1, 1, 9).long())
    assert tally.metrics()["explained_mass"] == tally.metrics()["explained_ap"] == 1
    assert tally.metrics()["explained_ap_random"] == pytest.approx(np.mean(1 / np.arange(1, 6)))


def test_random_segments_are_those_of_all_places() -> None:
    """Drawn one by one, segments end at phrases as often as the formula says."""
    phrases = phrase_edges(PREMISE)
    assert [n for n, edge in enumerate(phrases) if edge] == [3, 7]
    for length in range(2, 10):
        tally = AgreementTally()
        ends = []
        for start in range(9 - length + 1):
            groups = torch.zeros(1, 9, dtype=torch.long)
            groups[0, start : start + length] = 1
            tally.add([Pair(PREMISE, ("x",), 0)], groups / length, groups.unsqueeze(1))
            ends += [phrases[n] for n in (start - 1, start + length - 1) if 0 <= n < len(phrases)]
        found = tally.metrics()
        if ends:
            assert found["edges_at_phrases"] == pytest.approx(np.mean(ends))
            assert found["edges_at_phrases_random"] == pytest.approx(np.mean(ends))
        else:
            assert found == {}


def test_segments_are_neighbours_of_one_group_and_two_words_at_least() -> None:
    tally = AgreementTally()
    groups = torch.tensor([[1, 2, 2, 0, 0, 1, 3, 3, 3]])  # ends after words 0, 2 and 5
    tally.add([Pair(PREMISE, ("x",), 0)], groups / 15, groups.unsqueeze(1))
    assert tally.metrics()["edges_at_phrases"] == 0 / 3
    groups = torch.tensor([[0, 2, 2, 2, 1, 1, 1, 1, 0]])  # after 0, 3 twice, 7
    tally = AgreementTally()
    tally.add([Pair(PREMISE, ("x",), 0)], groups / 10, groups.unsqueeze(1))
    assert tally.metrics()["edges_at_phrases"] == 3 / 4


def test_segments_of_every_query_count_and_none_of_padding() -> None:
    one, other = [1, 2, 2, 0, 0, 1, 3, 3, 3], [0, 2, 2, 2, 1, 1, 1, 1, 0]
    queries, apart = AgreementTally(), AgreementTally()
    pair = Pair(PREMISE, ("x", "y", "z"), 0)
    queries.add([pair], torch.zeros(1, 9), torch.tensor([[one, other, [0] * 9]]))
    for row in (one, other):
        apart.add([pair], torch.zeros(1, 9), torch.tensor([[row]]))
    assert queries.metrics() == pytest.approx(apart.metrics())


@pytest.mark.parametrize("name", ["recurrent", "decomposable"])
def test_a_models_segments_are_counted_whatever_the_batch(name: str) -> None:
    corpus = generate(train=30, dev=9, test=9)
    found = []
    for size in (3, 9):  # padding of other lengths
        task = build(corpus, regattn.Fusedmax(gamma=0.1, lam=0.3), 1, torch.device("cpu"), model=name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tasks.entailment.task._EVALUATION_BATCH", size)
            found.append(task.evaluate("test"))
    for metric in ("edges_at_phrases", "edges_at_phrases_random"):
        assert found[0][metric] == pytest.approx(found[1][metric]) and 0 < found[0][metric] < 1


def test_explanations_are_read_where_a_file_has_them(tmp_path: Path) -> None:
    told = "premise,hypothesis,gold_label,explanation_1,explanation_2\nA Dog runs .,no dog,2,a DOG,it runs\n"
    (tmp_path / "train.csv").write_text("premise,hypothesis,gold_label\nA cat sits .,no cat,2\n")
    (tmp_path / "dev.csv").write_text(told)
    (tmp_path / "test.csv").write_text(told.replace("no dog", "none"))
    corpus = load_folder(tmp_path)
    assert corpus.splits["train"][0].explained == frozenset()
    assert corpus.splits["dev"][0].explained == frozenset({1, 2})
    # What people say of a pair is no part of what is learnt: the checksum does not depend on it.
    for split in ("dev", "test"):
        path = tmp_path / f"{split}.csv"
        path.write_text("".join(",".join(row.split(",")[:3]) + "\n" for row in path.read_text().splitlines()))
    assert load_folder(tmp_path).sha256 == corpus.sha256
