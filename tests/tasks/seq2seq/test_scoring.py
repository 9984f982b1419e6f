"""Alignments from attention, and their error rate."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.seq2seq.data import Link, Links
from tasks.seq2seq.task import AlignmentTally, alignment_from_attention


def test_source_pieces_are_summed_target_pieces_averaged() -> None:
    weights = torch.tensor(
        [
            [0.4, 0.3, 0.3],  # word 0: pieces 1 and 2 together win
            [0.0, 0.6, 0.4],  # word 1, first piece: for source word 1
            [1.0, 0.0, 0.0],  # word 1, second piece
            [0.9, 0.1, 0.0],  # word 1, third piece: the mean is for source word 0
        ]
    )
    assert alignment_from_attention(weights, [0, 1, 1], [0, 1, 1, 1]) == {(1, 0), (0, 1)}


def test_the_first_of_equals_is_linked_and_zeros_are_not() -> None:
    weights = torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    assert alignment_from_attention(weights, [0, 1, 2], [0, 1, 2]) == {(1, 0), (2, 2)}
    assert alignment_from_attention(weights, [0, 0, 1], [0, 1, 2]) == {(0, 0), (0, 2)}


def test_words_without_tokens_have_no_links() -> None:
    weights = torch.eye(2, requires_grad=True)
    assert alignment_from_attention(weights, [1, 4], [0, 3]) == {(1, 0), (4, 3)}
    assert alignment_from_attention(torch.zeros(0, 3), [0, 1, 2], []) == set()
    assert alignment_from_attention(torch.zeros(2, 0), [], [0, 1]) == set()


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6))
def test_a_plain_loop_finds_the_same_links(seed: int, targets: int, sources: int) -> None:
    rng = random.Random(seed)
    table = [[rng.choice([0.0, 0.25, 0.5]) for _ in range(sources)] for _ in range(targets)]
    source_words = sorted(rng.randrange(4) for _ in range(sources))
    target_words = sorted(rng.randrange(4) for _ in range(targets))
    expected = set()
    for target in set(target_words):
        best, best_weight = None, 0.0
        for source in sorted(set(source_words)):
            weight = sum(
                table[i][j]
                for i in range(targets)
                for j in range(sources)
                if (target_words[i], source_words[j]) == (target, source)
            )
            if weight > best_weight:
                best, best_weight = source, weight
        if best is not None:
            expected.add((best, target))
    assert alignment_from_attention(torch.tensor(table), source_words, target_words) == expected


def tallied(*sentences: tuple[set[Link], set[Link], set[Link]]) -> dict[str, float]:
    tally = AlignmentTally()
    for found, sure, possible in sentences:
        tally.add(found, Links(frozenset(sure), frozenset(sure | possible)))
    return tally.metrics()


def test_rates_by_hand_over_a_corpus() -> None:
    # A = 3 + 1, S = 2 + 1, A in S = 1 + 0, A in P = 2 + 0.
    first = ({(0, 0), (1, 1), (2, 2)}, {(0, 0), (3, 3)}, {(1, 1)})
    second = ({(0, 0)}, {(0, 1)}, set[Link]())
    metrics = tallied(first, second)
    assert metrics["alignment_precision"] == pytest.approx(2 / 4)
    assert metrics["alignment_recall"] == pytest.approx(1 / 3)
    assert metrics["aer"] == pytest.approx(1 - (1 + 2) / (4 + 3))


def test_every_sure_link_and_some_possible_ones_are_no_error() -> None:
    assert tallied(({(0, 0), (1, 1)}, {(0, 0)}, {(1, 1), (2, 2)})) == {
        "aer": 0,
        "alignment_precision": 1,
        "alignment_recall": 1,
    }


def test_rates_of_nothing_are_left_out() -> None:
    assert tallied((set(), {(0, 0)}, set())) == {"aer": 1.0, "alignment_recall": 0.0}
    assert tallied() == {}


def test_weights_that_are_none_are_noticed() -> None:
    for wrong in (
        torch.zeros(3, 2),
        torch.tensor([[0.5, -0.5, 1.0], [0.0, 0.0, 0.0]]),
        torch.full((2, 3), torch.nan),
    ):
        with pytest.raises(AssertionError):
            alignment_from_attention(wrong, [0, 1, 2], [0, 1])
