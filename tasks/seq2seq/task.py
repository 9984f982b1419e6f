"""Translation and summarization as the training loop sees them, and what they are scored by."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tasks._registry import Config
from tasks.attention import AttentionGrid, AttentionTally
from tasks.data.batching import epoch_batches
from tasks.data.files import read_stored
from tasks.data.vocabulary import PAD
from tasks.seq2seq.data import Corpus, Example, Link, Links
from tasks.seq2seq.model import ModelSettings, Seq2Seq
from tasks.seq2seq.text import BatchSettings, TextSettings, Tokenizers, pair_batch, short_pairs, target_rows
from tasks.seq2seq.translator import ForcedBatch, Translator
from tasks.training.records import Rows
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import in_memory
from tasks.training.state import best_weights, load_weights
from tasks.training.task import OnBatch, ignore


class Seq2SeqTask:
    """A model with its corpus, a :class:`tasks.training.task.RecordedTask`; a batch is a list of positions.

    Attention is shown over ``shown_example`` where the corpus is not this project's own. The ``seed``
    decides, with the epoch, the order of the examples.
    """

    metric = "log_likelihood"

    def __init__(
        self,
        corpus: Corpus,
        translator: Translator,
        scoring: Scoring,
        batches: BatchSettings,
        shown_example: Example,
        *,
        seed: int,
    ) -> None:
        self.corpus, self.translator, self.scoring = corpus, translator, scoring
        self.model = translator.model
        self.shown_example = corpus.splits[corpus.test_splits[0]][0] if corpus.synthetic else shown_example
        self.batches, self.seed = batches, seed
        self.shown = (scoring.metric, "perplexity", "zero_share", "aer")
        self.vocabulary = translator.tokenizers
        self.inputs = {"corpus": corpus.sha256, "vocabulary": self.vocabulary.sha256}
        self.outputs: dict[str, list[str]] = {}
        self.items: dict[str, dict[str, Rows]] = {}
        self.signatures: dict[str, dict[str, str]] = {}
        self._pairs = short_pairs(corpus, self.vocabulary, batches.max_length)

    @property
    def data_notes(self) -> list[str]:
        source, target = (f"{len(tokenizer):,}" for tokenizer in self.vocabulary)
        kept, of = len(self._pairs), self.corpus.sizes["train"]
        return [
            f"vocabulary: {source} tokens, shared" if self.vocabulary.is_shared
            else f"vocabularies: {source} source tokens, {target} target tokens",
            f"training pairs of 1 to {self.batches.max_length} tokens on both sides: {kept:,} of {of:,}",
            f"model: {sum(p.numel() for p in self.model.parameters()):,} parameters",
        ]  # fmt: skip

    def train_batches(self, epoch: int) -> list[list[int]]:
        batches = self.batches
        return epoch_batches(
            self._pairs.lengths, batches.size, seed=self.seed, epoch=epoch, count=batches.count
        )

    def describe(self, batch: list[int]) -> str:
        return "training pairs " + ", ".join(map(str, batch))

    def step(self, batch: list[int]) -> tuple[Tensor, dict[str, float]]:
        chosen = [self._pairs[i] for i in batch]
        device, multiple = self.model.device, self.batches.pad_to_multiple
        pairs = pair_batch([s for s, _ in chosen], [t for _, t in chosen], device, multiple)
        decoded, _ = self.model(pairs.source, pairs.lengths, pairs.decoder_input)
        rows = target_rows(pairs)
        targets = pairs.labels.flatten()[rows]
        is_target = targets != PAD
        logits = self.model.predict(decoded.outputs.flatten(0, 1)[rows])
        log_probabilities = logits.float().log_softmax(-1)
        nll = -(log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1) * is_target).sum()
        even = -(log_probabilities.mean(-1) * is_target).sum()
        smoothing, tokens = self.batches.label_smoothing, float(is_target.sum())
        metric_sums = {
            "examples": float(len(batch)) if self.batches.mean_over == "sentences" else tokens,
            "tokens": tokens,
            "nll": float(nll.detach()),
        }
        return ((1 - smoothing) * nll + smoothing * even) / metric_sums["examples"], metric_sums

    def evaluate(
        self, split: str, *, items: int | None = None, on_batch: OnBatch = ignore
    ) -> dict[str, float]:
        """Measure how a split's references are read and what is written for its sources.

        The dev set, measured after every epoch, is written greedily, other splits as the search is set. The
        outputs are kept in ``outputs``. Where only ``items`` are written, evenly spaced over the split, the
        signatures say so.

        Metrics:
            log_likelihood: mean over the tokens of the first references and their ends, in nats.
            perplexity: e to the power of minus that.
            aer, alignment_precision, alignment_recall: of the attention as word alignment, where links
                are known.
            and those of :class:`AttentionTally`, over the references' tokens, and of the task's own.
        """
        whole = self.corpus.splits[split]
        examples = evenly_spaced(whole, items)
        settings = self.translator.greedy if split == "dev" else self.translator.settings
        found = self.translator.generate(
            [example.source for example in examples], settings, partial(on_batch, "writing")
        )
        self.outputs[split] = [best[0].text for best in found]
        scores = self.scoring(split, self.outputs[split], examples)
        suffix = "" if len(examples) == len(whole) else f"|items:{len(examples)} of {len(whole)}"
        self.signatures[split] = {kind: text + suffix for kind, text in scores.signatures.items()}
        self.items[split] = dict(scores.items)
        return {**self._read(split, on_batch), **scores.metrics}

    def summarize(self, metrics: dict[str, dict[str, float]]) -> str:
        name = self.scoring.metric
        figures = [f"{split} {of[name]:.2f}" for split, of in metrics.items()]
        perplexities = [f"{split} {of['perplexity']:.2f}" for split, of in metrics.items()]
        return f"{name} {', '.join(figures)}; perplexity {', '.join(perplexities)}"

    def example(self) -> AttentionGrid:
        """The attention while the output of one example is written, or its target read if that is empty."""
        shown = self.shown_example
        written = self.translator.generate([shown.source])[0][0].ids
        return self.translator.grid(shown.source, written or self.vocabulary.target.encode(shown.target))

    def _read(self, split: str, on_batch: OnBatch) -> dict[str, float]:
        examples = self.corpus.splits[split]
        likelihood, tokens = 0.0, 0
        attention, found = AttentionTally(), dict[int, set[Link]]()
        sources, targets = [e.source for e in examples], [e.target for e in examples]
        for numbers, forced in self.translator.teacher_forced(sources, targets):
            mask = forced.pairs.target_mask
            likelihood += float(forced.log_likelihood[mask].double().sum())
            tokens += int(mask.sum())
            rows, allowed = forced.pairs.words, forced.pairs.mask.unsqueeze(1).expand_as(forced.weights)
            attention.add(forced.weights[rows], allowed[rows], forced.groups[rows])
            links = _alignments(forced, [examples[n] for n in numbers], self.vocabulary)
            found |= zip(numbers, links, strict=True)
            on_batch("reading", len(found), len(examples))
        alignment = AlignmentTally()
        for number, example in enumerate(examples):
            if example.links is not None:
                alignment.add(found.get(number, ()), example.links)
        if alignment.rows:
            self.items[split]["aer"] = alignment.rows
        mean = likelihood / tokens
        # A perplexity beyond a float would end the run before anyone could read it.
        metrics = {"log_likelihood": mean, "perplexity": math.exp(min(-mean, 700))}
        return {**metrics, **attention.metrics(), **alignment.metrics()}


def evenly_spaced(examples: Sequence[Example], items: int | None) -> Sequence[Example]:
    """At most so many of the examples, in their order, from all parts of what may be sorted or joined.

    Example:
        >>> evenly_spaced("abcdefg", 3), evenly_spaced("abc", 3), evenly_spaced("abc", None)
        (['a', 'c', 'e'], 'abc', 'abc')
    """
    if items is None or items >= len(examples):
        return examples
    return [examples[number * len(examples) // items] for number in range(items)]


def _alignments(
    forced: ForcedBatch, examples: Sequence[Example], tokenizers: Tokenizers
) -> Iterator[set[Link]]:
    """The links that attention makes of each example; none where nobody knows better ones."""
    for example, weights in zip(examples, forced.weights.cpu(), strict=True):
        if example.links is None:
            yield set()
            continue
        source = tokenizers.source.words(example.source)
        target = tokenizers.target.words(example.target)
        yield alignment_from_attention(weights[: len(target), : len(source)], source, target)


def copied(task: Seq2SeqTask, write: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """The scores on every test set of what ``write`` makes of the sources alone."""
    found = {}
    for split in task.corpus.test_splits:
        examples = task.corpus.splits[split]
        scores = task.scoring(split, [write(example.source) for example in examples], examples)
        task.signatures[split] = scores.signatures
        found[split] = scores.metrics
    return found


def new_model(
    corpus: Corpus,
    mapping: nn.Module,
    seed: int,
    device: torch.device,
    text: TextSettings,
    settings: ModelSettings,
) -> tuple[Seq2Seq, Tokenizers]:
    """A model of a corpus with weights drawn from ``seed``, and the tokenizers learnt for it."""
    tokenizers = Tokenizers.train(corpus, text)
    torch.manual_seed(seed)
    return build_model(tokenizers, mapping, settings).to(device), tokenizers


def load(config: Config, mapping: nn.Module, run: RunDirectory, device: torch.device) -> Translator:
    """The trained model of a run, as :func:`tasks.loading.from_run` says; ``config["task"]`` is built."""
    options = config["task"]
    tokenizers = read_stored(run.vocabulary, Tokenizers.from_json)
    weights = best_weights(run.weights, tokenizers.sha256)
    model = in_memory(partial(build_model, tokenizers, mapping, options["model"]))
    load_weights(model, weights, run.weights)
    return Translator(
        model.to(device), tokenizers, options["search"], replace_unknown=options["replace_unknown"]
    )


def build_model(tokenizers: Tokenizers, mapping: nn.Module, settings: ModelSettings) -> Seq2Seq:
    """A model for these tokenizers, its weights drawn from torch's generator."""
    sizes = len(tokenizers.source), len(tokenizers.target)
    return Seq2Seq(settings, mapping, *sizes, shared=tokenizers.is_shared)


# ------------------------------------------------------------------ what outputs and attention are worth
@dataclass(frozen=True)
class Scores:
    """Scores of a test set, 0 to 100, and how they were computed."""

    metrics: dict[str, float]
    signatures: dict[str, str]  # for each kind of metric what somebody needs to compute it again
    items: Mapping[str, Rows]  # what tests of significance draw from


class Scoring(Protocol):
    """The metrics of a task."""

    metric: str
    """Name of the first metric to quote."""

    def __call__(self, split: str, outputs: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score the outputs for the examples of a split."""


def alignment_from_attention(
    weights: Tensor, source_words: Sequence[int], target_words: Sequence[int]
) -> set[Link]:
    """Link each target word with the source word that it attends to most.

    A source word has the sum of the weights of its tokens, a target word the mean of the rows of its tokens.

    Args:
        weights: attention of one sentence, (target tokens, source tokens), without ``</s>`` and padding.
        source_words, target_words: the position of the word of each token, as of a tokenizer's ``words``.

    Returns:
        Pairs (source word, target word): one for each target word with tokens, of equal source words the
        first; none for a target word all of whose weights are 0.

    Example:
        >>> weights = torch.tensor([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
        >>> sorted(alignment_from_attention(weights, [0, 1, 1], [0, 1]))
        [(0, 1), (1, 0)]
    """
    table = weights.detach().cpu().double()
    assert table.shape == (len(target_words), len(source_words)) and bool((table >= 0).all())
    if not table.numel():
        return set()
    source, target = torch.tensor(source_words), torch.tensor(target_words)
    summed = table.new_zeros(len(target), max(source_words) + 1).index_add(1, source, table)
    # (target words, source words); the sum over the tokens of a word has its maximum where the mean has it.
    rows = table.new_zeros(max(target_words) + 1, summed.shape[1]).index_add(0, target, summed).numpy()
    return {(int(row.argmax()), word) for word, row in enumerate(rows) if row.any()}  # the first of equals


class AlignmentTally:
    r"""Alignments against those made by hand, over a corpus.

    With the links :math:`A` found, the sure links :math:`S` and the possible ones :math:`P \supseteq S`:

    .. math::
        \text{precision} = \frac{|A \cap P|}{|A|}, \quad \text{recall} = \frac{|A \cap S|}{|S|}, \quad
        \text{AER} = 1 - \frac{|A \cap S| + |A \cap P|}{|A| + |S|}

    Metrics:
        aer: alignment error rate, 0 to 1, lower is better.
        alignment_precision: 0 to 1.
        alignment_recall: 0 to 1.

    Example:
        >>> tally = AlignmentTally()
        >>> tally.add({(0, 0), (1, 2)}, Links(sure=frozenset({(0, 0)}), possible=frozenset({(0, 0), (1, 1)})))
        >>> tally.metrics()
        {'aer': 0.3333333333333333, 'alignment_precision': 0.5, 'alignment_recall': 1.0}

    Source: Och & Ney (2003), "A Systematic Comparison of Various Statistical Alignment Models", section 5.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        """Of every sentence the numbers of links found that are sure, of those possible, of all, and of S."""

    def add(self, found: Collection[Link], gold: Links) -> None:
        """Count the links of one sentence."""
        found = frozenset(found)
        agreed = len(found & gold.sure), len(found & gold.possible)
        self.rows.append((*agreed, len(found), len(gold.sure)))

    def metrics(self) -> dict[str, float]:
        """Rates over all links counted; one that would divide by 0 is left out."""
        found_sure, found_possible, found, sure = (sum(row[k] for row in self.rows) for k in range(4))
        fractions = {
            "aer": (found + sure - found_sure - found_possible, found + sure),
            "alignment_precision": (found_possible, found),
            "alignment_recall": (found_sure, sure),
        }
        return {name: part / whole for name, (part, whole) in fractions.items() if whole}


def aer_of_totals(totals: np.ndarray, items: int) -> np.ndarray:
    """AER, 0 to 1, of texts with these sums of :attr:`AlignmentTally.rows`, (..., 4) to (...)."""
    found_sure, found_possible, found, sure = np.moveaxis(totals, -1, 0)
    links = found + sure
    return 1 - np.where(links > 0, (found_sure + found_possible) / np.maximum(links, 1), 1.0)
