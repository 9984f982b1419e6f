"""How much of an entailment corpus can be guessed without reading it: models that know no word order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import softmax  # type: ignore[import-untyped]

from tasks.data.batching import epoch_batches
from tasks.entailment.agreement import is_content
from tasks.entailment.data import LABELS, Corpus, Pair
from tasks.ranges import PositiveInt, check_number

if TYPE_CHECKING:
    from tasks.entailment.task import EntailmentTask

_BATCH = 256
_RATE = 0.05
_LEAST = 2  # how often training has to show a feature
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Scores = dict[str, dict[str, dict[str, float]]]


def baselines(task: EntailmentTask) -> Scores:
    """Test accuracy of the most frequent label, of the hypothesis alone, and of a bag of features."""
    return {name: {"test": {"accuracy": found}} for name, found in baseline_accuracies(task.corpus).items()}


def baseline_accuracies(corpus: Corpus, *, epochs: int = 10, seed: int = 1) -> dict[str, float]:
    """Measure all baselines on the test split.

    The two that are trained are log-linear: the one on words and pairs of neighbours of the hypothesis, the
    other also on which content words of both sentences meet, and on how many of the hypothesis are new.

    Args:
        corpus: any entailment corpus.
        epochs: passes over the training split, at least 1; the best one on dev counts.
        seed: of the order, at least 0.

    Returns:
        Accuracy in 0 ... 1 by the name of the baseline.

    Raises:
        ValueError: ``epochs < 1`` or ``seed < 0``.

    Source: Bowman et al. (2015), "A large annotated corpus for learning natural language inference", section
        3.3; the hypothesis alone, Gururangan et al. (2018), "Annotation Artifacts in Natural Language
        Inference Data".
    """
    check_number("epochs", epochs, PositiveInt)
    (majority, _), *_ = Counter(pair.label for pair in corpus.splits["train"]).most_common(1)
    test = corpus.splits["test"]
    return {
        "majority": sum(pair.label == majority for pair in test) / len(test),
        "hypothesis only": _fit(corpus, hypothesis_features, epochs, seed),
        "bag of features": _fit(corpus, pair_features, epochs, seed),
    }


def hypothesis_features(pair: Pair) -> Iterable[Hashable]:
    """Words, neighbours and length of the hypothesis."""
    return [*pair.hypothesis, *pairwise(pair.hypothesis), len(pair.hypothesis)]


def pair_features(pair: Pair) -> Iterable[Hashable]:
    """Those of the hypothesis, which words meet which, which are new, and how many."""
    known = set(pair.premise)
    premise, hypothesis = (
        [w for w in dict.fromkeys(side) if is_content(w)] for side in (pair.premise, pair.hypothesis)
    )
    new = [word for word in hypothesis if word not in known]
    meeting = (("meet", *words) for words in product(premise, hypothesis))
    lengths = ("longer", (len(pair.hypothesis) - len(pair.premise)) // 2)
    counts = [("new of", len(new), len(hypothesis)), ("new", len(new)), lengths]
    return chain(hypothesis_features(pair), meeting, (("new", word) for word in new), counts)


class _Bags(NamedTuple):
    """Features of pairs as numbers, pair after pair, where each begins and the last ends, and labels."""

    numbers: Ints
    ends: Ints
    labels: Ints


def _fit(corpus: Corpus, features: Callable[[Pair], Iterable[Hashable]], epochs: int, seed: int) -> float:
    """Train, and return the test accuracy after the epoch that is best on dev."""
    found = {split: [list(features(pair)) for pair in pairs] for split, pairs in corpus.splits.items()}
    counts = Counter(chain.from_iterable(found["train"]))
    known = [feature for feature, count in counts.items() if count >= _LEAST]
    numbers = {feature: number for number, feature in enumerate(known, 1)}  # 0: always there
    bags = {split: _bags(rows, numbers, corpus.splits[split]) for split, rows in found.items()}
    weights = np.zeros((len(numbers) + 1, len(LABELS)))
    squares = np.full_like(weights, 1e-10)  # of Adagrad
    lengths = [0] * len(corpus.splits["train"])  # bags need no padding, so no sorting either
    best_dev, its_test = -1.0, 0.0
    for epoch in range(epochs):
        for batch in epoch_batches(lengths, _BATCH, seed=seed, epoch=epoch):
            _step(weights, squares, _take(bags["train"], batch))
        dev = _accuracy(weights, bags["dev"])
        if dev > best_dev:
            best_dev, its_test = dev, _accuracy(weights, bags["test"])
    return its_test


def _bags(rows: Sequence[Iterable[Hashable]], numbers: dict[Hashable, int], pairs: Sequence[Pair]) -> _Bags:
    numbered = [[0, *(numbers[f] for f in row if f in numbers)] for row in rows]
    ends = np.cumsum([0, *map(len, numbered)])
    return _Bags(np.array(list(chain.from_iterable(numbered))), ends, np.array([p.label for p in pairs]))


def _take(bags: _Bags, rows: Sequence[int]) -> _Bags:
    parts = [bags.numbers[bags.ends[row] : bags.ends[row + 1]] for row in rows]
    return _Bags(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), bags.labels[list(rows)])


def _scores(weights: Floats, bags: _Bags) -> Floats:
    return np.add.reduceat(weights[bags.numbers], bags.ends[:-1])


def _step(weights: Floats, squares: Floats, bags: _Bags) -> None:
    """One step of Adagrad on the mean negative log-likelihood."""
    errors = softmax(_scores(weights, bags), axis=1)
    errors[np.arange(len(errors)), bags.labels] -= 1
    touched, places = np.unique(bags.numbers, return_inverse=True)
    of_pair = np.repeat(errors / len(errors), np.diff(bags.ends), axis=0)
    gradient = np.stack([np.bincount(places, column, len(touched)) for column in of_pair.T], axis=1)
    squares[touched] += gradient**2
    weights[touched] -= _RATE * gradient / np.sqrt(squares[touched])


def _accuracy(weights: Floats, bags: _Bags) -> float:
    return float((_scores(weights, bags).argmax(1) == bags.labels).mean())
