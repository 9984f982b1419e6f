"""Translation: the encoder–decoder, scored with BLEU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tasks.data.word_tokenizer import moses_rules
from tasks.seq2seq.data import Corpus, Example
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.scoring import Scores
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import Seq2SeqTask, copied, new_model
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.seq2seq.translator import Translator
from tasks.translation.metrics import bleu, new_bleu

SENTENCES = {
    "cs": "Malý pes s červeným míčem běží přes mokrou louku a dvě děti se dívají.",
    "de": "Ein kleiner Hund mit einem roten Ball läuft über die nasse Wiese, und zwei Kinder sehen zu.",
    "en": "A small dog with a red ball runs across the wet meadow, and two children are watching.",
    "fr": "Un petit chien avec une balle rouge court à travers le pré mouillé, et deux enfants regardent.",
}
"""One sentence in several languages, over which attention is shown."""


class Bleu:
    """BLEU and chrF of translations into ``language``, put together first where they are ``tokenized``."""

    metric = "bleu"

    def __init__(self, language: str, tokenized: bool) -> None:
        self.language, self.tokenized = language, tokenized
        if tokenized:
            moses_rules(language)  # now: what is missing is missed before the training
        new_bleu(language)

    def __call__(self, split: str, outputs: Sequence[str], examples: Sequence[Example]) -> Scores:
        references = [example.references for example in examples]
        return bleu(outputs, references, language=self.language, tokenized=self.tokenized)


def build(
    corpus: Corpus,
    mapping: nn.Module,
    seed: int,
    device: torch.device,
    *,
    text: TextSettings,
    model: ModelSettings,
    batches: BatchSettings,
    search: SearchSettings,
    replace_unknown: bool = False,
) -> Seq2SeqTask:
    """Make the task of a parallel corpus with new weights, drawn from ``seed``.

    Args:
        corpus, mapping, seed, device: what is read, what attends, which draw, and where.
        text, model, batches, search: as their classes say.
        replace_unknown: write, for an unknown word, the source word that it attended to most.

    Raises:
        ValueError: a corpus that these settings cannot use.
    """
    scoring = Bleu(corpus.languages[1], corpus.tokenized)
    source, target = (SENTENCES.get(language, SENTENCES["en"]) for language in corpus.languages)
    made = new_model(corpus, mapping, seed, device, text, model)
    translator = Translator(*made, search, replace_unknown=replace_unknown)
    return Seq2SeqTask(corpus, translator, scoring, batches, Example(source, (target,)), seed=seed)


def baselines(task: Seq2SeqTask) -> dict[str, dict[str, dict[str, float]]]:
    """BLEU and chrF of the source itself; what is reached without attention takes a training."""
    return {"the source": copied(task, str)}
