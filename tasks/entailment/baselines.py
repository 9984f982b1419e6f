"""How much of an entailment corpus can be guessed without reading: two baselines that know no word order."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from tasks.data.batching import epoch_batches, pad
from tasks.data.vocabulary import PAD, Vocabulary
from tasks.entailment.data import LABELS, Corpus, Pair
from tasks.ranges import PositiveInt, check_number

_HIDDEN, _BATCH = 64, 128


class BagOfWords(nn.Module):
    """One hidden layer over mean one-hot counts of the hypothesis, or of both sentences.

    With the premise it also sees two overlaps: the share of each sentence's words that the other has.
    """

    def __init__(self, words: int, *, premise: bool) -> None:
        super().__init__()
        # A bag of embeddings is counts times a matrix, without a column for each word of a large vocabulary.
        self.hypothesis = nn.EmbeddingBag(words, _HIDDEN, mode="mean", padding_idx=PAD)
        self.premise = nn.EmbeddingBag(words, _HIDDEN, mode="mean", padding_idx=PAD) if premise else None
        self.overlaps = nn.Linear(2, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, len(LABELS))

    def forward(self, premise: Tensor, hypothesis: Tensor, overlaps: Tensor) -> Tensor:
        """Score the labels: (batch, words), (batch, words) and (batch, 2) to (batch, 3)."""
        hidden = self.hypothesis(hypothesis)  # (batch, hidden)
        if self.premise is not None:
            hidden = hidden + self.premise(premise) + self.overlaps(overlaps)
        return self.out(torch.relu(hidden))


def baseline_accuracies(corpus: Corpus, *, epochs: int = 20, seed: int = 1) -> dict[str, float]:
    """Train both baselines and measure them on the test split.

    Args:
        corpus: any entailment corpus.
        epochs: passes over the training split, at least 1; the best one on dev counts.
        seed: of parameters and order, at least 0; the global random state is left alone.

    Returns:
        Accuracy in 0 ... 1 under ``hypothesis_only`` and ``bag_of_words``.

    Raises:
        ValueError: ``epochs < 1`` or ``seed < 0``.
    """
    check_number("epochs", epochs, PositiveInt)
    train = corpus.splits["train"]
    vocabulary = Vocabulary.from_counts(Counter(word for p in train for word in p.premise + p.hypothesis))
    splits = {name: _tensors(pairs, vocabulary) for name, pairs in corpus.splits.items()}
    accuracies = {}
    for name, premise in (("hypothesis_only", False), ("bag_of_words", True)):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = BagOfWords(len(vocabulary), premise=premise)
        accuracies[name] = _fit(model, splits, epochs, seed)
    return accuracies


def _fit(model: BagOfWords, splits: dict[str, TensorDataset], epochs: int, seed: int) -> float:
    """Train, and return the test accuracy after the epoch that is best on dev."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    lengths = [0] * len(splits["train"])  # rows have one width already: no need to sort them
    best_dev, its_test = -1.0, 0.0
    for epoch in range(epochs):
        for batch in epoch_batches(lengths, _BATCH, seed=seed, epoch=epoch):
            *features, labels = splits["train"][batch]
            optimizer.zero_grad()
            cross_entropy(model(*features), labels).backward()
            optimizer.step()
        dev = _accuracy(model, splits["dev"])
        if dev > best_dev:
            best_dev, its_test = dev, _accuracy(model, splits["test"])
    return its_test


@torch.no_grad()
def _accuracy(model: BagOfWords, split: TensorDataset) -> float:
    *features, labels = split.tensors
    return float((model(*features).argmax(1) == labels).double().mean())


def _tensors(pairs: Sequence[Pair], vocabulary: Vocabulary) -> TensorDataset:
    """Premises, hypotheses, overlaps, labels."""
    premise = pad([vocabulary.encode(pair.premise) for pair in pairs])[0]
    hypothesis = pad([vocabulary.encode(pair.hypothesis) for pair in pairs])[0]
    labels = torch.tensor([pair.label for pair in pairs])
    return TensorDataset(premise, hypothesis, torch.tensor([_overlaps(pair) for pair in pairs]), labels)


def _overlaps(pair: Pair) -> list[float]:
    shared = set(pair.premise) & set(pair.hypothesis)
    return [sum(word in shared for word in side) / len(side) for side in (pair.premise, pair.hypothesis)]
