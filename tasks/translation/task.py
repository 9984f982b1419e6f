"""Translation: the encoder–decoder, scored with BLEU and chrF by sacrebleu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import nn

from tasks.checks import check_installed
from tasks.data.tokenizers import moses_rules
from tasks.seq2seq.data import Corpus, Example
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import Scores, Seq2SeqTask, copied, new_model
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.seq2seq.translator import Translator

SENTENCES = {
    "cs": "Malý pes s červeným míčem běží přes mokrou louku a dvě děti se dívají.",
    "de": "Ein kleiner Hund mit einem roten Ball läuft über die nasse Wiese, und zwei Kinder sehen zu.",
    "en": "A small dog with a red ball runs across the wet meadow, and two children are watching.",
    "fr": "Un petit chien avec une balle rouge court à travers le pré mouillé, et deux enfants regardent.",
}
"""One sentence in several languages, over which attention is shown."""


_CUT_BY = {"ja": "MeCab", "ko": "mecab_ko"}
"""Packages that sacrebleu cuts languages with, which it does not bring."""
_SHORT = {"zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "jpn": "ja", "kor": "ko"}
"""Codes of three letters, as in FLORES, which sacrebleu does not know."""


def bleu(
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    language: str | None = None,
    tokenized: bool = False,
    lowercase: bool = False,
) -> Scores:
    """Score translations as sacrebleu does by default: BLEU on its own tokens, and chrF2.

    The tokens are those that sacrebleu has for the language: 13a but for Chinese, Japanese and Korean.

    Args:
        outputs, references: one translation for each item, and everywhere as many references.
        language: code of that of the outputs, such as ``"fr"``, ``"zh"`` or ``"zh_CN"``.
        tokenized: both are in Moses tokens of the language, which are put together to plain text first.
        lowercase: case does not count, as for a system that writes lower case.

    Returns:
        The scores ``bleu`` and ``chrf`` with sacrebleu's signatures, and the ``detokenizer`` if one was used.
        Of every item the counts whose sums :func:`bleu_of_totals` takes.

    Raises:
        ValueError: numbers differ, items have no reference, or there is no language of tokens.

    Example:
        >>> scores = bleu(["a cat sits on the mat"], [("the cat sits on the mat",)])
        >>> round(scores.metrics["bleu"], 2), scores.signatures["bleu"].split("|")[:3]
        (75.98, ['nrefs:1', 'case:mixed', 'eff:no'])

    Source: Papineni et al. (2002); Popović (2015); Post (2018), "A Call for Clarity in Reporting BLEU
        Scores".
    """
    numbers = {len(item) for item in references}
    if len(numbers) != 1 or 0 in numbers:
        got = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"every item must have the same number of references, at least 1, got {got}")
    if tokenized:
        outputs, references = _detokenize(outputs, references, language)
    streams = list(zip(*references, strict=True))
    scores, signatures = {}, {}
    # The score of an item, unused here, warns without an effective order.
    single = new_bleu(language, lowercase=lowercase, effective_order=True)
    counts = [single.sentence_score(*item) for item in zip(outputs, references, strict=True)]
    items = {"bleu": [[item.sys_len, item.ref_len, *item.counts, *item.totals] for item in counts]}
    metrics = {"bleu": new_bleu(language, lowercase=lowercase), "chrf": CHRF(lowercase=lowercase)}
    for name, metric in metrics.items():
        scores[name] = float(metric.corpus_score(outputs, streams).score)
        signatures[name] = str(metric.get_signature())
    if tokenized:
        signatures["detokenizer"] = f"sacremoses {version('sacremoses')}, {language}"
    return Scores(scores, signatures, items)


def new_bleu(language: str | None, *, lowercase: bool = False, effective_order: bool = False) -> BLEU:
    """BLEU on sacrebleu's tokens for a language.

    Raises:
        PackageError: the package that cuts text of this language into words is not installed.
    """
    code = re.split("[-_]", language or "")[0].lower()
    code = _SHORT.get(code, code)
    if package := _CUT_BY.get(code):
        check_installed(package, f"BLEU of {code}", f"sacrebleu[{code}]")
    return BLEU(trg_lang=code, lowercase=lowercase, effective_order=effective_order)


def bleu_of_totals(totals: np.ndarray, items: int) -> np.ndarray:
    """BLEU of test sets with these counts, (..., counts) to (...), as sacrebleu makes it of one.

    They are sums over the items of both lengths, of n-grams in common, and of n-grams.
    """
    system, reference = totals[..., 0], totals[..., 1]
    found, of = np.split(totals[..., 2:], 2, axis=-1)
    missing = (found == 0) & (of > 0)
    # The k-th order without a match counts as one in 2 ** k matches.
    smoothed = np.where(missing, 0.5 ** np.cumsum(missing, -1), found)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = 100 * np.exp(np.log(smoothed / of).mean(-1) + np.minimum(0, 1 - reference / system))
    return np.where((found.sum(-1) > 0) & (of > 0).all(-1), score, 0.0)


def _detokenize(
    outputs: Sequence[str], references: Sequence[Sequence[str]], language: str | None
) -> tuple[list[str], list[list[str]]]:
    if language is None:
        raise ValueError("texts in Moses tokens must have the code of their language, got None")
    detokenizer = moses_rules(language)[1]

    def plain(text: str) -> str:
        return str(detokenizer.detokenize(text.split(" ")))

    return [plain(text) for text in outputs], [[plain(text) for text in item] for item in references]


class Bleu:
    """BLEU and chrF of translations into ``language``, put together first where they are ``tokenized``.

    Case does not count where the system writes ``lowercase``; the signatures say so.
    """

    metric = "bleu"

    def __init__(self, language: str, tokenized: bool, lowercase: bool = False) -> None:
        self.language, self.tokenized, self.lowercase = language, tokenized, lowercase
        if tokenized:
            moses_rules(language)  # now: what is missing is missed before the training
        new_bleu(language)

    def __call__(self, split: str, outputs: Sequence[str], examples: Sequence[Example]) -> Scores:
        references = [example.references for example in examples]
        return bleu(
            outputs,
            references,
            language=self.language,
            tokenized=self.tokenized,
            lowercase=self.lowercase,
        )


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

    With ``replace_unknown`` the source word that it attended to most is written for an unknown word.
    """
    scoring = Bleu(corpus.languages[1], corpus.tokenized, text.lowercase)
    source, target = (SENTENCES.get(language, SENTENCES["en"]) for language in corpus.languages)
    made = new_model(corpus, mapping, seed, device, text, model)
    translator = Translator(*made, search, replace_unknown=replace_unknown)
    return Seq2SeqTask(corpus, translator, scoring, batches, Example(source, (target,)), seed=seed)


def baselines(task: Seq2SeqTask) -> dict[str, dict[str, dict[str, float]]]:
    """BLEU and chrF of the source itself; what is reached without attention takes a training."""
    return {"the source": copied(task, str)}
