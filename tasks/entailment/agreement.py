"""Whether attention agrees with people: with words that their explanations repeat, and with phrases.

Both are stand-ins. An explanation is written to be read, and says what its author thought of, not what a
model should have looked at; phrases are found by a rule on words, because no trees of these sentences are at
hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tasks.data.normalize import tokenize

if TYPE_CHECKING:
    from tasks.entailment.data import Pair

_FUNCTION_WORDS = """
    a an the this that these those some any each every all both no another
    i you he she it we they me him her us them my your his its our their who whom whose which what
    himself herself itself themselves one there here
    in on at by for with without from to of into onto over under above below across along through
    around near behind beside between among against about after before during off out up down inside
    outside toward towards past next as than
    and or but nor so if because while when where although though until since then
    is are was were be been being am has have had having do does did doing will would can could may might
    must shall should not n't 's 're 've 'll 'd 'm
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that say how others belong together: determiners, pronouns, prepositions and the like."""


def is_content(word: str) -> bool:
    """Whether a word names something: it has a letter or digit, and is no function word.

    Example:
        >>> [word for word in "two dogs run in the snow .".split() if is_content(word)]
        ['two', 'dogs', 'run', 'snow']
    """
    return any(map(str.isalnum, word)) and word.lower() not in FUNCTION_WORDS


def explained_words(premise: Sequence[str], explanations: Iterable[str]) -> frozenset[int]:
    """Positions of the content words of a premise that at least one explanation repeats, in any case.

    Example:
        >>> sorted(explained_words(("A", "dog", "runs", "home"), ["The DOG is a dog .", "He runs"]))
        [1, 2]
    """
    said = {word for text in explanations for word in tokenize(text)}
    return frozenset(n for n, word in enumerate(premise) if is_content(word) and word.lower() in said)


def phrase_edges(words: Sequence[str]) -> list[bool]:
    """For every two neighbours whether a phrase ends between them: (words - 1,).

    It does where a function word follows a content word, and on both sides of punctuation.

    Example:
        >>> words = "two dogs with a ball run , jump".split()
        >>> [" ".join(pair) for pair, ends in zip(zip(words, words[1:]), phrase_edges(words)) if ends]
        ['dogs with', 'run ,', ', jump']

    Source: the chinks and chunks of Liberman & Church (1992), "Text Analysis and Word Pronunciation in
        Text-to-Speech Synthesis".
    """
    kinds = [1 if is_content(word) else 0 if word.lower() in FUNCTION_WORDS else -1 for word in words]
    return [(a, b) == (1, 0) or -1 in (a, b) for a, b in pairwise(kinds)]


def average_precision(weights: Sequence[float], relevant: Sequence[bool]) -> float:
    """How far up the relevant ones stand by weight: their mean precision, expected over the order of equals.

    Of equal weights all give what a random order would, so that zeros are ranked neither first nor last.

    Example:
        >>> average_precision([0.6, 0.4, 0.0], [True, False, False])
        1.0
        >>> average_precision([0.5, 0.5, 0.0], [True, False, False])
        0.75

    Source: McSherry & Najork (2008), "Computing Information Retrieval Performance Measures Efficiently in
        the Presence of Tied Scores".
    """
    values, inverse = np.unique(-np.asarray(weights), return_inverse=True)
    sizes = np.bincount(inverse, minlength=len(values))
    hits = np.bincount(inverse, weights=np.asarray(relevant, dtype=float), minlength=len(values))
    above, found, total = 0, 0.0, 0.0
    for size, hit in zip(sizes.tolist(), hits.tolist(), strict=True):
        if hit:
            place = np.arange(size)
            before = found + place * (hit - 1) / max(size - 1, 1)  # relevant ones above one of this group
            total += float((hit / size * (before + 1) / (above + place + 1)).sum())
        above, found = above + size, found + hit
    return total / found


class AgreementTally:
    """Counts over premises, where people have explained the labels, and over fused segments.

    Metrics:
        explained_mass: mean weight on the content words that an explanation repeats.
        explained_mass_uniform: the same of uniform weights, the share of these words.
        explained_ap: mean average precision of these words among the content words, by weight.
        explained_ap_random: the same of a random order.
        edges_at_phrases: share of the ends of fused segments of two words and more, those at an end of the
            sentence left out, at which a phrase ends by :func:`phrase_edges`.
        edges_at_phrases_random: the same of segments of the same lengths anywhere in their sentences.
    """

    def __init__(self) -> None:
        names = "explained_mass", "explained_mass_uniform", "explained_ap", "explained_ap_random"
        self.explained = dict.fromkeys(names, 0.0)
        self.premises = 0
        self.edges = np.zeros(4)  # at phrases and all, found; at phrases and all, expected of random ones

    def add(self, pairs: Sequence[Pair], weights: Tensor, groups: Tensor) -> None:
        """Count a batch of pairs by weights and groups.

        The weights are those over the words of each premise (pairs, words), 0 behind its end; the groups, as
        :func:`regattn.groups` numbers them, are of any number of rows for each (pairs, rows, words).
        """
        for pair, row, rows_of_labels in zip(pairs, weights.tolist(), groups.cpu(), strict=True):
            if pair.explained:
                self._add_explained(pair, row)
            starts, lengths = _fused(rows_of_labels[:, : len(pair.premise)])
            if len(starts):
                self.edges += _edges(phrase_edges(pair.premise), starts, lengths)

    def _add_explained(self, pair: Pair, weights: Sequence[float]) -> None:
        content = [n for n, word in enumerate(pair.premise) if is_content(word)]
        relevant = [n in pair.explained for n in content]
        found = {
            "explained_mass": sum(weights[n] for n in pair.explained),
            "explained_mass_uniform": len(pair.explained) / len(pair.premise),
            "explained_ap": average_precision([weights[n] for n in content], relevant),
            "explained_ap_random": average_precision([0.0] * len(content), relevant),
        }
        for name, value in found.items():
            self.explained[name] += value
        self.premises += 1

    def metrics(self) -> dict[str, float]:
        """Means over what was counted; none of what there was none of."""
        at, ends, random_at, random_ends = self.edges.tolist()
        metrics = {name: total / self.premises for name, total in self.explained.items() if self.premises}
        if ends:
            metrics |= {"edges_at_phrases": at / ends, "edges_at_phrases_random": random_at / random_ends}
        return metrics


def _fused(groups: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of the stretches of two and more neighbours of one group, in all rows."""
    labels = groups.numpy()
    tied = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != 0)
    changes = np.diff(np.pad(tied, [(0, 0), (1, 1)]).astype(int))
    starts = np.nonzero(changes == 1)[1]
    return starts, np.nonzero(changes == -1)[1] - starts + 1


def _edges(phrases: Sequence[bool], starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Of segments of a sentence the ends inside it: at phrases and all, and what random places would give."""
    inside = np.concatenate([[0], np.cumsum(phrases)])  # phrase edges before each word
    words, stops = len(phrases) + 1, starts + lengths
    before, after = starts[starts > 0] - 1, stops[stops < words] - 1
    edges = np.asarray(phrases, dtype=float)
    places = words - lengths + 1  # where a segment of that length may begin
    at_random = (inside[words - lengths] + inside[-1] - inside[lengths - 1]) / places
    return np.array(
        [
            edges[before].sum() + edges[after].sum(),
            len(before) + len(after),
            at_random.sum(),
            (2 * (places - 1) / places).sum(),
        ]
    )
