"""Every item once, the same in every process, little padding."""

import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.batching import epoch_batches, length_batches, pad

LENGTHS = [int(n) for n in np.random.default_rng(7).integers(1, 60, size=5003)]


@given(
    lengths=st.lists(st.integers(0, 9) | st.integers(0, 99), max_size=300),
    limit=st.integers(1, 60),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_batches_counted_in_tokens_keep_the_limit(
    lengths: list[int], limit: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(lengths, limit, seed=seed, epoch=epoch, count="tokens")
    assert sorted(item for batch in batches for item in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= limit for batch in batches)
    assert all(0 < len(batch) <= limit for batch in batches)
    assert batches == epoch_batches(tuple(lengths), limit, seed=seed, epoch=epoch, count="tokens")


@given(
    lengths=st.lists(st.integers(0, 9), max_size=300),
    size=st.integers(1, 7),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_every_item_stands_in_one_batch(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed=seed, epoch=epoch)
    assert sorted(item for batch in batches for item in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sum(len(batch) < size for batch in batches) <= 1


def test_global_random_state_is_neither_read_nor_changed() -> None:
    first = epoch_batches(LENGTHS, 32, seed=1, epoch=0)
    torch.manual_seed(99)
    np.random.seed(99)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert epoch_batches(LENGTHS, 32, seed=1, epoch=0) == first
    assert torch.equal(before, torch.get_rng_state())
    assert (np.random.get_state()[1] == before_numpy).all()


def test_order_is_pinned_for_ever() -> None:
    assert epoch_batches([5, 1, 4, 2, 3], 2, seed=3, epoch=1) == [[4, 2], [1, 3], [0]]
    assert epoch_batches([5, 1, 4, 2, 3], 6, seed=3, epoch=1, count="tokens") == [[4], [0], [1, 3], [2]]
    many = json.dumps(epoch_batches([i * i % 61 for i in range(5003)], 32, seed=5, epoch=2))
    digest = "c1d43b8da3998a798704ddb0fb4320c77c7a74e09ebefda3a72860b7d3806d18"
    assert hashlib.sha256(many.encode()).hexdigest() == digest


def test_seed_and_epoch_both_matter_and_do_not_mix() -> None:
    orders = [
        epoch_batches(LENGTHS, 32, seed=s, epoch=e) for s, e in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)]
    ]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])


def test_padding_is_little_and_lengths_are_not_in_order() -> None:
    batches = epoch_batches(LENGTHS, 32, seed=0, epoch=0)
    longest = [max(LENGTHS[item] for item in batch) for batch in batches]
    padded = sum(top * len(batch) for top, batch in zip(longest, batches, strict=True))
    assert padded / sum(LENGTHS) < 1.05  # about 1.9 for batches of a plain shuffle
    assert longest != sorted(longest) and abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


def test_batches_counted_in_tokens_are_full_and_in_no_order() -> None:
    batches = epoch_batches(LENGTHS, 1000, seed=0, epoch=0, count="tokens")
    longest = [max(LENGTHS[item] for item in batch) for batch in batches]
    padded = sum(top * len(batch) for top, batch in zip(longest, batches, strict=True))
    assert padded / sum(LENGTHS) < 1.05 and padded / len(batches) > 900
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3
    assert batches != epoch_batches(LENGTHS, 1000, seed=0, epoch=1, count="tokens")


def test_evaluation_goes_by_length_and_then_in_order() -> None:
    assert length_batches([2, 1, 2, 1, 1], 2) == [[1, 3], [4, 0], [2]]
    assert length_batches([], 2) == []


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=6))
def test_padding_can_be_undone(sequences: list[list[int]]) -> None:
    words, lengths = pad(sequences)
    assert words.dtype == lengths.dtype == torch.long and words.shape == (
        len(sequences),
        max(map(len, sequences)),
    )
    assert [row[:n].tolist() for row, n in zip(words, lengths.tolist(), strict=True)] == sequences
    assert words.sum() == sum(map(sum, sequences))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pad([[1], []]), "at least one word, got none at position 1"),
        (lambda: pad([]), "at least one sentence, got none"),
        (
            lambda: epoch_batches([1], 0, seed=0, epoch=0),
            "batch_size must be an integer of at least 1, got 0",
        ),
        (lambda: length_batches([1], -1), "batch_size must be an integer of at least 1, got -1"),
        (
            lambda: epoch_batches([1], 1, seed=0, epoch=0, count="words"),
            "one of sentences, tokens, got 'words'",
        ),
        (lambda: epoch_batches([1], 1, seed=-1, epoch=0), "seed must be .*, got -1"),
        (lambda: epoch_batches([1], 1, seed=0, epoch=2**32), "epoch must be .*, got 4294967296"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
