"""Entailment as the training loop sees it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tasks._registry import Config
from tasks.attention import AttentionGrid, AttentionTally
from tasks.checks import BatchSize, Fraction, PositiveInt, check_ranges
from tasks.data.batching import epoch_batches, length_batches, pad
from tasks.data.cache import map_items, prepared
from tasks.data.files import read_stored
from tasks.data.normalize import tokenize
from tasks.data.vocabulary import Vectors, Vocabulary, load_vectors, random_vectors
from tasks.entailment.agreement import AgreementTally, is_content
from tasks.entailment.data import LABELS, Corpus, Pair
from tasks.entailment.model import DecomposableModel, EntailmentModel, EntailmentOutput, PaddedBatch
from tasks.training.records import Rows
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import check_size
from tasks.training.state import best_weights, load_weights
from tasks.training.task import OnBatch, ignore

_PREMISE = "two children in red jackets throw snow at each other while a man with a dog walks past ."
PAIR = Pair(tuple(_PREMISE.split(" ")), ("nobody", "is", "outside", "."), LABELS.index("contradiction"))
"""Over which attention is shown, where the corpus is not this project's own."""

Model = EntailmentModel | DecomposableModel
MODELS: dict[str, type[Model]] = {"recurrent": EntailmentModel, "decomposable": DecomposableModel}

_EVALUATION_BATCH = 256  # memory only: metrics do not depend on it


class Words(NamedTuple):
    """The words of a corpus, and how many each training premise has, int32."""

    vocabulary: Vocabulary
    premise_lengths: np.ndarray


def words_of(corpus: Corpus) -> Words:
    """Every word of every split, most frequent in training first; counted now or before.

    Held-out words belong to the vocabulary because the vectors know them; they have no trained weights of
    their own.
    """

    def write(folder: Path) -> None:
        counts, lengths = Counter[str](), []
        for words, some in map_items(_count, corpus.splits["train"]):
            counts.update(words)
            lengths += some
        for split in ("dev", "test"):
            counts.update(dict.fromkeys(_count(corpus.splits[split])[0].keys() - counts.keys(), 1))
        (folder / "words.json").write_text(json.dumps(Vocabulary.from_counts(counts).to_json()))
        np.save(folder / "lengths.npy", np.array(lengths, np.int32))

    def read(folder: Path) -> Words:
        words = Vocabulary.from_json(json.loads((folder / "words.json").read_bytes()))
        return Words(words, np.load(folder / "lengths.npy"))

    return prepared(corpus.beside("words"), write, read)


def _count(pairs: Sequence[Pair]) -> tuple[Counter[str], list[int]]:
    words = Counter(chain.from_iterable((*pair.premise, *pair.hypothesis) for pair in pairs))
    return words, [len(pair.premise) for pair in pairs]


def batch_of(
    pairs: Sequence[Pair], vocabulary: Vocabulary, device: torch.device | str
) -> tuple[PaddedBatch, PaddedBatch]:
    """Premises and hypotheses of ``pairs`` as the model reads them."""

    def padded(side: str) -> PaddedBatch:
        words, lengths = pad([vocabulary.encode(getattr(pair, side)) for pair in pairs])
        return PaddedBatch(words.to(device), lengths)

    return padded("premise"), padded("hypothesis")


class Tally:
    """Sums over batches, from which the metrics of a split follow.

    Metrics:
        accuracy: share of right labels, 0 to 1.
        loss: mean negative log-likelihood, in nats.
        evidence_mass: mean weight on the words that decide, where the corpus knows them.
        those of :class:`tasks.entailment.agreement.AgreementTally`, and
        those of :class:`tasks.attention.AttentionTally`, over the words of the premises.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.sums = dict.fromkeys(("accuracy", "loss", "evidence_mass"), 0.0)
        self.with_evidence = 0
        self.attention, self.agreement = AttentionTally(), AgreementTally()

    def add(self, pairs: Sequence[Pair], found: EntailmentOutput) -> None:
        """Count one batch."""
        labels = torch.tensor([pair.label for pair in pairs])
        logits, weights = found.logits.cpu().double(), found.weights.cpu().double()
        rows = found.is_query
        self.attention.add(
            found.weights[rows], found.mask.unsqueeze(1).expand_as(found.weights)[rows], found.groups[rows]
        )
        # What all queries make of a word; padding asks nothing.
        weights = weights.sum(1) / found.is_query.sum(1, keepdim=True).cpu()
        self.agreement.add(pairs, weights, found.groups * found.is_query.unsqueeze(-1))
        self.examples += len(pairs)
        self.sums["accuracy"] += int((logits.argmax(-1) == labels).sum())
        self.sums["loss"] += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        for pair, row in zip(pairs, weights, strict=True):
            if pair.evidence is not None:
                self.with_evidence += 1
                self.sums["evidence_mass"] += float(row[slice(*pair.evidence)].sum())

    def metrics(self) -> dict[str, float]:
        """Means over all pairs counted; ``evidence_mass`` only where evidence is known."""
        means = {name: total / self.examples for name, total in self.sums.items()}
        del means["evidence_mass"]
        if self.with_evidence:
            means["evidence_mass"] = self.sums["evidence_mass"] / self.with_evidence
        return {**means, **self.attention.metrics(), **self.agreement.metrics()}


@dataclass(frozen=True)
class Prediction:
    """One pair as a model reads it: ``probabilities`` follow ``LABELS``, ``grid`` a row for each query."""

    label: str
    probabilities: list[float]
    grid: AttentionGrid


def predict_pair(model: Model, pair: Pair, vocabulary: Vocabulary) -> Prediction:
    """Let the model read one pair."""
    model.eval()
    found = model.predict(*batch_of([pair], vocabulary, model.device))
    probabilities = torch.softmax(found.logits[0], -1).tolist()
    label = LABELS[probabilities.index(max(probabilities))]
    one_query = (" ".join(pair.hypothesis),)
    *queries, last = one_query if found.is_query.shape[1] == 1 else pair.hypothesis
    target = (*queries, f"{last} → {label}")
    grid = AttentionGrid.of(pair.premise, target, found.weights[0], found.groups[0])
    return Prediction(label, probabilities, grid)


@dataclass(frozen=True)
class EntailmentPredictor:
    """A trained model at work: two sentences in, a label with its attention out.

    Attributes:
        model: in any mode; asking it puts it into eval mode.
        vocabulary: that it was trained with.
        lowercase: whether it was trained on lower case.
    """

    model: Model
    vocabulary: Vocabulary
    lowercase: bool = True

    def words(self, text: str) -> tuple[str, ...]:
        """The words of a sentence as the model reads it."""
        return tuple(tokenize(text, lowercase=self.lowercase))

    def predict(self, premise: str, hypothesis: str) -> Prediction:
        """What the hypothesis is to the premise.

        Raises:
            ValueError: a sentence has no words.
        """
        pair = Pair(self.words(premise), self.words(hypothesis), label=0)
        if not (pair.premise and pair.hypothesis):
            raise ValueError("premise and hypothesis must have at least one word each, got none")
        return predict_pair(self.model, pair, self.vocabulary)


def load(config: Config, mapping: nn.Module, run: RunDirectory, device: torch.device) -> EntailmentPredictor:
    """The trained model of a run, as :func:`tasks.loading.from_run` says; ``config["task"]`` is built."""
    vocabulary = read_stored(run.vocabulary, Vocabulary.from_json)
    weights = best_weights(run.weights, vocabulary.sha256)
    options = config["task"]
    kind = MODELS[options.get("model", "recurrent")]
    model = kind(weights["vectors.weight"], mapping, hidden_size=options["hidden_size"])
    load_weights(model, weights, run.weights)
    return EntailmentPredictor(model.to(device), vocabulary, config["data"].get("lowercase", True))


class EntailmentTask:
    """A model with its corpus, a :class:`tasks.training.task.RecordedTask`; a batch is a list of positions.

    Of ``vectors`` only where they come from is kept. The ``seed`` decides, with the epoch, the order.
    """

    metric = "accuracy"
    shown = ("accuracy", "loss", "zero_share", "evidence_mass")

    def __init__(
        self,
        corpus: Corpus,
        vectors: Vectors,
        words: Words,
        model: Model,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        self.corpus, self.model = corpus, model
        self.vocabulary, self._lengths = words
        self.inputs = {"corpus": corpus.sha256, "vectors": vectors.sha256}
        self.data_notes = [
            f"vocabulary: {len(words.vocabulary):,} words, {vectors.coverage:.1%} with a pre-trained vector"
        ]
        self.outputs: dict[str, list[str]] = {}
        self.items: dict[str, dict[str, Rows]] = {}
        self.signatures: dict[str, dict[str, str]] = {}
        self.batch_size, self.seed = batch_size, seed
        self._pairs = corpus.splits["train"]

    def train_batches(self, epoch: int) -> list[list[int]]:
        return epoch_batches(self._lengths, self.batch_size, seed=self.seed, epoch=epoch)

    def describe(self, batch: list[int]) -> str:
        return "training pairs " + ", ".join(map(str, batch))

    def step(self, batch: list[int]) -> tuple[Tensor, dict[str, float]]:
        pairs = [self._pairs[i] for i in batch]
        labels = torch.tensor([pair.label for pair in pairs], device=self.model.device)
        premise, hypothesis = batch_of(pairs, self.vocabulary, self.model.device)
        logits, _ = self.model(premise, hypothesis)
        metric_sums = {
            "examples": float(len(pairs)),
            "tokens": float(premise.lengths.sum() + hypothesis.lengths.sum()),
            "correct": float((logits.detach().argmax(-1) == labels).sum()),
        }
        return cross_entropy(logits, labels), metric_sums

    def evaluate(
        self, split: str, *, items: int | None = None, on_batch: OnBatch = ignore
    ) -> dict[str, float]:
        """The metrics of :class:`Tally` on all of the split: nothing here takes a search."""
        self.model.eval()
        pairs, tally = self.corpus.splits[split], Tally()
        answers: dict[int, str] = {}
        for batch in length_batches([len(pair.premise) for pair in pairs], _EVALUATION_BATCH):
            chosen = [pairs[i] for i in batch]
            found = self.model.predict(*batch_of(chosen, self.vocabulary, self.model.device))
            tally.add(chosen, found)
            answers.update(zip(batch, (LABELS[n] for n in found.logits.argmax(-1).tolist()), strict=True))
            on_batch("reading", len(answers), len(pairs))
        self.outputs[split] = [answers[i] for i in range(len(pairs))]
        self.items[split] = {"accuracy": [int(answers[i] == LABELS[p.label]) for i, p in enumerate(pairs)]}
        return tally.metrics()

    def summarize(self, metrics: dict[str, dict[str, float]]) -> str:
        return "accuracy " + ", ".join(f"{split} {of['accuracy']:.2%}" for split, of in metrics.items())

    def example(self) -> AttentionGrid:
        pair = self.corpus.splits["test"][0] if self.corpus.synthetic else PAIR
        return predict_pair(self.model, pair, self.vocabulary).grid


def build(
    corpus: Corpus,
    mapping: nn.Module,
    seed: int,
    device: torch.device,
    *,
    model: Literal["recurrent", "decomposable"] = "recurrent",
    hidden_size: PositiveInt = 100,
    dropout: Fraction = 0.1,
    train_vectors: bool = False,
    batch_size: BatchSize = 16,
    vectors: str | None = None,
    vector_size: PositiveInt = 50,
) -> EntailmentTask:
    """Make the task of a corpus with new weights, drawn from ``seed``.

    Args:
        corpus, mapping, seed, device: what is read, what attends, which draw, and where.
        model: a key of :data:`MODELS`; the paper's is the recurrent one.
        hidden_size, dropout, train_vectors: as for that model.
        batch_size: pairs in a training batch, from 1 to 65,536.
        vectors: GloVe text file, or None to draw a vector for every word.
        vector_size: size of drawn vectors.

    Raises:
        ValueError: another model, a number out of its range, too many weights, or a file without vectors.
    """
    check_ranges(build, {"model": model, "batch_size": batch_size, "vector_size": vector_size})
    words = words_of(corpus)
    vocabulary = words.vocabulary
    if not vectors:
        check_size(len(vocabulary) * vector_size)
    known = load_vectors(vectors, vocabulary) if vectors else random_vectors(vocabulary, vector_size)
    torch.manual_seed(seed)
    made = MODELS[model](
        known.weights, mapping, hidden_size=hidden_size, dropout=dropout, train_vectors=train_vectors
    ).to(device)
    return EntailmentTask(corpus, known, words, made, batch_size=batch_size, seed=seed)


# ------------------------------------------------------------------ what is guessed without word order
_BATCH = 256
_RATE = 0.05
_LEAST = 2  # how often training has to show a feature
Scores = dict[str, dict[str, dict[str, float]]]


def baselines(task: EntailmentTask) -> Scores:
    """Test accuracy of the most frequent label, of the hypothesis alone, and of a bag of features."""
    return {name: {"test": {"accuracy": found}} for name, found in baseline_accuracies(task.corpus).items()}


def baseline_accuracies(corpus: Corpus, *, epochs: int = 10) -> dict[str, float]:
    """Measure all baselines on the test split.

    The two that are trained are log-linear: the one on words and pairs of neighbours of the hypothesis, the
    other also on which content words of both sentences meet, and on how many of the hypothesis are new.

    Args:
        corpus: any entailment corpus.
        epochs: passes over the training split, at least 1; the best one on dev counts.

    Returns:
        Accuracy in 0 ... 1 by the name of the baseline.

    Source: Bowman et al. (2015), "A large annotated corpus for learning natural language inference", section
        3.3; the hypothesis alone, Gururangan et al. (2018), "Annotation Artifacts in Natural Language
        Inference Data".
    """
    (majority, _), *_ = Counter(pair.label for pair in corpus.splits["train"]).most_common(1)
    test = corpus.splits["test"]
    return {
        "majority": sum(pair.label == majority for pair in test) / len(test),
        "hypothesis only": _fit(corpus, hypothesis_features, epochs),
        "bag of features": _fit(corpus, pair_features, epochs),
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


@torch.sparse.check_sparse_tensor_invariants(False)  # its default, of which torch warns
def _fit(corpus: Corpus, features: Callable[[Pair], Iterable[Hashable]], epochs: int) -> float:
    """Train, and return the test accuracy after the epoch that is best on dev."""
    found = {split: [list(features(pair)) for pair in pairs] for split, pairs in corpus.splits.items()}
    counts = Counter(chain.from_iterable(found["train"]))
    known = [feature for feature, count in counts.items() if count >= _LEAST]
    numbers = {feature: number for number, feature in enumerate(known, 1)}  # 0: always there
    bags = {
        split: [torch.tensor([0, *(numbers[f] for f in row if f in numbers)]) for row in rows]
        for split, rows in found.items()
    }
    labels = {split: torch.tensor([p.label for p in pairs]) for split, pairs in corpus.splits.items()}
    model = nn.EmbeddingBag(len(numbers) + 1, len(LABELS), mode="sum", sparse=True, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adagrad(model.parameters(), _RATE, initial_accumulator_value=1e-10, eps=0.0)

    def logits(split: str, batch: Sequence[int]) -> Tensor:
        chosen = [bags[split][number] for number in batch]
        return model(torch.cat(chosen), torch.tensor([0, *map(len, chosen[:-1])]).cumsum(0))

    @torch.no_grad()
    def accuracy(split: str) -> float:
        right = logits(split, range(len(labels[split]))).argmax(1) == labels[split]
        return float(right.double().mean())

    lengths = [0] * len(labels["train"])  # bags need no padding, so no sorting either
    best_dev, its_test = -1.0, 0.0
    for epoch in range(epochs):
        for batch in epoch_batches(lengths, _BATCH, seed=1, epoch=epoch):
            optimizer.zero_grad()
            cross_entropy(logits("train", batch), labels["train"][batch]).backward()
            optimizer.step()
        dev = accuracy("dev")
        if dev > best_dev:
            best_dev, its_test = dev, accuracy("test")
    return its_test
