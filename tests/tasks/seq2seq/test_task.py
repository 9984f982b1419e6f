"""Translation as the training loop sees it: the loss, what is measured, what is written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import regattn
from tasks._registry import TASKS, import_object
from tasks.data.vocabulary import BOS, EOS, PAD
from tasks.seq2seq.data import Corpus, Example
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import Seq2SeqTask
from tasks.seq2seq.text import BatchSettings, TextSettings, Tokenizers, pair_batch
from tasks.summarization import task as summarization
from tasks.translation import task as translation
from tasks.translation.mini import generate

SMALL = ModelSettings(layers=1, hidden_size=16, embedding_size=16, bidirectional=True, input_feed=False)


def build(
    corpus: Corpus | None = None,
    *,
    text: TextSettings | None = None,
    batches: BatchSettings | None = None,
    replace_unknown: bool = False,
) -> Seq2SeqTask:
    return translation.build(
        corpus or generate(train=60, dev=20, test=20),
        regattn.Fusedmax(),
        1,
        torch.device("cpu"),
        text=text or TextSettings(),
        model=SMALL,
        batches=batches or BatchSettings(size=8),
        search=SearchSettings(beam_size=3, max_length=20),
        replace_unknown=replace_unknown,
    )


def corpus_of(*pairs: tuple[str, str]) -> Corpus:
    examples = [Example(source, (target,)) for source, target in pairs]
    return Corpus("own", "0", {"train": examples, "dev": examples, "test": examples}, {})


@pytest.mark.parametrize("mean_over", ["sentences", "tokens"])
@pytest.mark.parametrize(("smoothing", "multiple"), [(0.0, 1), (0.1, 5)])
def test_the_loss_is_cross_entropy_over_sentences_or_tokens(
    mean_over: str, smoothing: float, multiple: int
) -> None:
    task = build(
        batches=BatchSettings(
            size=8, mean_over=mean_over, label_smoothing=smoothing, pad_to_multiple=multiple
        )
    )  # type: ignore[arg-type]
    task.model.eval()
    batch = task.train_batches(1)[0]
    with torch.no_grad():
        loss, metric_sums = task.step(batch)

    train = [task.corpus.splits["train"][i] for i in batch]
    wanted, nll, tokens = 0.0, 0.0, 0
    for example in train:  # one sentence at a time: no padding anywhere
        source, target = (
            t.encode(x) for t, x in zip(task.vocabulary, (example.source, example.target), strict=True)
        )
        reading, _ = task.model(
            torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([[BOS, *target]])
        )
        logits, ended = task.model.predict(reading.outputs[0]), torch.tensor([*target, EOS])
        loss_of = cross_entropy(logits, ended, label_smoothing=smoothing, reduction="sum")
        wanted += float(loss_of.detach())
        nll += float(cross_entropy(logits.detach(), ended, reduction="sum"))
        tokens += len(ended)
    examples = len(batch) if mean_over == "sentences" else tokens
    assert metric_sums == {"examples": examples, "tokens": tokens, "nll": pytest.approx(nll, rel=1e-5)}
    assert float(loss) == pytest.approx(wanted / examples, rel=1e-5)


def test_metrics_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    task = build()
    together = task.evaluate("test")
    outputs = task.outputs["test"]
    monkeypatch.setattr("tasks.seq2seq.translator._SENTENCES", 3)
    apart = task.evaluate("test")
    assert task.outputs["test"] == outputs
    assert apart == pytest.approx(together, rel=1e-5)
    assert together["perplexity"] == pytest.approx(math.exp(-together["log_likelihood"]))
    assert {"bleu", "chrf", "aer", "zero_share", "segments", "groups", "entropy"} <= together.keys()
    assert task.signatures["test"]["bleu"].startswith("nrefs:1|")


def test_dev_is_written_greedily_and_test_sets_by_beam() -> None:
    task = build()
    with torch.no_grad():  # a model that a beam finds better outputs of
        for weight in task.model.parameters():
            weight.mul_(6)
    for split, beam_size in (("dev", 1), ("test", 3)):
        sources = [example.source for example in task.corpus.splits[split]]
        written = {
            size: [
                best[0].text
                for best in task.translator.generate(sources, SearchSettings(size, max_length=20))
            ]
            for size in (1, 3)
        }
        assert written[1] != written[3]
        task.evaluate(split)
        assert task.outputs[split] == written[beam_size]


def test_only_so_many_items_are_written_and_the_signature_says_so() -> None:
    task = build()
    whole = task.evaluate("dev")
    outputs, signature = task.outputs["dev"], task.signatures["dev"]["bleu"]
    told: list[tuple[str, int, int]] = []
    part = task.evaluate("dev", items=5, on_batch=lambda *what: told.append(what))
    assert task.outputs["dev"] == outputs[::4]
    assert task.signatures["dev"]["bleu"] == f"{signature}|items:5 of 20"
    assert part["log_likelihood"] == whole["log_likelihood"] and part["aer"] == whole["aer"]
    assert told == [("writing", 5, 5), ("reading", 20, 20)]


def test_likelihood_is_a_mean_over_tokens_and_ends() -> None:
    task = build(corpus_of(("a b c", "x y"), ("a", "y")))
    total, tokens = 0.0, 0
    for example in task.corpus.splits["test"]:
        target = task.vocabulary.target.encode(example.target)
        forced = task.translator.teacher_forced_batch(
            [task.vocabulary.source.encode(example.source)], [target]
        )
        total += float(forced.log_likelihood.sum())
        tokens += len(target) + 1
    assert task.evaluate("test")["log_likelihood"] == pytest.approx(total / tokens, rel=1e-5)


def test_an_output_has_the_probability_it_was_found_with() -> None:
    task = build()
    for [best], example in zip(
        task.translator.generate([e.source for e in task.corpus.splits["test"]]),
        task.corpus.splits["test"],
        strict=True,
    ):
        forced = task.translator.teacher_forced_batch(
            [task.vocabulary.source.encode(example.source)], [best.ids]
        )
        if len(best.weights) > len(best.ids):  # it ended by itself
            assert float(forced.log_likelihood.sum()) == pytest.approx(best.log_probability, abs=1e-5)
        torch.testing.assert_close(forced.weights[0, : len(best.weights)], best.weights, rtol=0, atol=1e-5)


def test_a_text_without_words_gives_one_without_words() -> None:
    task = build()
    [[empty], [other]] = task.translator.generate(["  ", "die frau lacht"])
    assert (empty.text, empty.ids, empty.source) == ("", (), ())
    assert other.source == ("die", "frau", "lacht")


def test_unknown_words_are_replaced_by_the_most_attended_one() -> None:
    task = build(corpus_of(("ein haus", "a house"), ("ein hund", "a dog")), replace_unknown=True)
    with torch.no_grad():  # nothing but unknown words, five at most
        task.model.predict.weight.zero_()
        task.model.predict.bias.copy_(torch.tensor([0.0, 9.0, *[0.0] * (len(task.vocabulary.target) - 2)]))
    [[output]] = task.translator.generate(["ein hund haus"], SearchSettings(beam_size=1, max_length=5))
    attended = [output.source[row.argmax()] for row in output.weights[:5]]
    assert output.text.split() == attended
    task.translator.replace_unknown = False
    [[output]] = task.translator.generate(["ein hund haus"], SearchSettings(beam_size=1, max_length=5))
    assert set(output.text.split()) == {"<unk>"}


def test_long_and_empty_training_pairs_are_left_out_and_counted() -> None:
    corpus = corpus_of(("a b", "x"), ("a", "x y"), ("a b c", "x"), ("a", "x y z"), (" ", "x"))
    task = build(corpus, batches=BatchSettings(size=8, max_length=2))
    assert [len(batch) for batch in task.train_batches(1)] == [2]
    assert "training pairs of 1 to 2 tokens on both sides: 2 of 5" in task.data_notes
    with pytest.raises(ValueError, match="a pair of 1 to 1 tokens on both sides, got none"):
        build(corpus_of(("a b", "x")), batches=BatchSettings(max_length=1))


def test_a_grid_is_the_attention_over_an_output() -> None:
    task = build()
    grid = task.example()
    weights, groups = torch.tensor(grid.weights), torch.tensor(grid.groups)
    assert weights.shape == groups.shape == (len(grid.target), len(grid.source))
    assert torch.equal(groups > 0, weights > 0)
    assert " ".join(grid.source) == task.corpus.splits["test"][0].source


def test_a_model_that_writes_nothing_has_a_grid_all_the_same() -> None:
    task = build()
    with torch.no_grad():  # always the end
        task.model.predict.weight.zero_()
        task.model.predict.bias.copy_(torch.arange(len(task.vocabulary.target)) == EOS).mul_(9)
    assert task.evaluate("test")["bleu"] == 0
    assert set(task.outputs["test"]) == {""}
    assert " ".join(task.example().target) == task.corpus.splits["test"][0].target


def test_attention_is_shown_over_words_of_this_project() -> None:
    task = build(replace(generate(train=60, dev=20, test=20), synthetic=False))
    assert task.shown_example.source == translation.SENTENCES["de"]
    assert task.shown_example.target == translation.SENTENCES["en"]


def test_scores_follow_from_their_items() -> None:
    task = build()
    for split in ("dev", "test"):
        metrics, items = task.evaluate(split), task.items[split]
        assert {len(rows) for rows in items.values()} == {20}
        for name in ("bleu", "aer"):
            score = import_object(TASKS["translation"].item_scores[name])
            totals = np.array(items[name], dtype=float).sum(0)
            assert float(score(totals, 20)) == pytest.approx(metrics[name], abs=1e-9)


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_tokenizers_come_back_from_storage(kind: str) -> None:
    task = build(text=TextSettings(tokenizer=kind, vocab_size=80))
    again = Tokenizers.from_json(task.vocabulary.to_json())
    assert again.sha256 == task.vocabulary.sha256
    assert again.is_shared is task.vocabulary.is_shared is (kind == "subwords")
    assert again.target.encode("the woman") == task.vocabulary.target.encode("the woman")


def test_vocabularies_are_those_of_the_training_split() -> None:
    train, held_out = Example("a b", ("x y",)), Example("a c c", ("x z z",))
    corpus = Corpus("own", "0", {"train": [train], "dev": [held_out], "test": [held_out]}, {})
    source, target = build(corpus).vocabulary
    assert [len(tokenizer.encode("a b c")) for tokenizer in (source, target)] == [3, 3]
    assert source.decode(source.encode("a b c")) == "a b <unk>"
    assert target.decode(target.encode("x y z")) == "x y <unk>"


def test_text_is_not_cut_twice() -> None:
    corpus = replace(corpus_of(("a b", "x")), tokenized=True)
    with pytest.raises(ValueError, match="moses must be false for a corpus that is cut into words already"):
        build(corpus, text=TextSettings(moses=True))


def test_a_batch_begins_ends_and_is_padded() -> None:
    wide = pair_batch([[7, 8], [9]], [[5], [6, 4, 5]], torch.device("cpu"), 3)
    assert [tensor.shape[1] for tensor in (wide.source, wide.decoder_input, wide.labels)] == [3, 6, 6]
    batch = pair_batch([[7, 8], [9]], [[5], [6, 4, 5]], torch.device("cpu"))
    assert batch.source.tolist() == [[7, 8], [9, PAD]]
    assert batch.decoder_input.tolist() == [[BOS, 5, PAD, PAD], [BOS, 6, 4, 5]]
    assert batch.labels.tolist() == [[5, EOS, PAD, PAD], [6, 4, 5, EOS]]
    assert batch.target_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.words.tolist() == [[True, False, False, False], [True, True, True, False]]
    assert batch.mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("lowercase", [False, True])
def test_case_counts_unless_lower_case_is_learnt(lowercase: bool) -> None:
    task = build(corpus_of(("Ein Hund", "A Dog")), text=TextSettings(lowercase=lowercase))
    scores = task.scoring("dev", ["a dog"], [Example("Ein Hund", ("A Dog",))])
    assert (scores.metrics["chrf"] == pytest.approx(100)) is lowercase


def test_headlines_are_scored_by_the_rules_of_their_split() -> None:
    references = ("oil price falls 36 percent", "price of oil falls", "oil falls", "oil down")
    examples = [Example("oil fell 36 percent", references)]
    rouge = summarization.Rouge(["duc"])
    as_duc = rouge("duc", ["oil price falls ## percent and more"], examples)
    as_gigaword = rouge("dev", ["oil price falls ## percent and more"], examples)
    assert as_duc.signatures["rouge"].startswith("recall|cut:75b|stem:porter|refs:4|")
    assert as_gigaword.signatures["rouge"].startswith("f1|cut:none|stem:porter|refs:4|")
    # The number is put back from the source: 5 of 5, 3 of 4, 2 of 2, 1 of 2 words.
    assert as_duc.metrics["rouge1"] == pytest.approx(100 * 11 / 13)
    assert rouge("duc", [" "], examples).metrics["rouge1"] == 0


def test_outputs_up_to_their_first_unknown_word_are_scored_beside() -> None:
    examples = [Example("oil fell", ("oil price UNK falls",))]
    rouge = summarization.Rouge(["duc2004"], until_unknown=True)
    scores = rouge("dev", ["oil <unk> falls"], examples)
    assert scores.metrics["rouge1"] == pytest.approx(600 / 7)
    assert scores.metrics["rouge1_until_unknown"] == pytest.approx(200 / 5)
    assert scores.signatures["rouge_until_unknown"].startswith("f1|cut:none|stem:porter|end:<|refs:1|")
    assert rouge("duc2004", ["oil <unk> falls"], examples).metrics["rouge1_until_unknown"] == 25


def test_headlines_that_rouge_cannot_read_are_refused_with_the_way_out() -> None:
    examples = [Example("сто судов вышли в море", ("суда вышли в море",))] * 9

    def built(*english: Example, **options: Any) -> Seq2SeqTask:
        splits = {"train": examples, "dev": [*examples, *english], "test": [*examples, *english]}
        return summarization.build(
            Corpus("own", "0", splits, {}), regattn.Softmax(), 1, torch.device("cpu"),
            text=TextSettings(tokenizer="words"), model=SMALL, batches=BatchSettings(),
            search=SearchSettings(), **options,
        )  # fmt: skip

    with pytest.raises(ValueError, match=r"headlines of dev must have ASCII .*; task\.letters=unicode reads"):
        built()
    scores = built(letters="unicode").scoring("test", ["суда вышли"] * 9, examples)
    assert (
        scores.metrics["rouge1"] == pytest.approx(200 / 3) and "letters:unicode" in scores.signatures["rouge"]
    )
    built(*[Example("a ship", ("ship",))] * 9)


def test_headlines_that_rouge_never_scores_are_not_read() -> None:
    class Unread(list[Example]):
        def __iter__(self) -> NoReturn:
            raise AssertionError("four million pairs take seconds of every start")

    scored = [Example("a ship", ("ship",))]
    summarization.check_letters(Corpus("own", "0", {"train": Unread(scored), "dev": scored}, {}))


def test_test_sets_called_after_duc_are_scored_by_its_rules() -> None:
    examples = [Example("oil price fell by 36 pct", ("oil price falls",))] * 4
    splits = dict.fromkeys(["train", "dev", "test", "duc2003", "duc2004"], examples)

    def built(duc_splits: list[str] | None) -> Seq2SeqTask:
        return summarization.build(
            Corpus("own", "0", splits, {}), regattn.Softmax(), 1, torch.device("cpu"),
            text=TextSettings(tokenizer="words"), model=SMALL, batches=BatchSettings(),
            search=SearchSettings(), duc_splits=duc_splits,
        )  # fmt: skip

    assert isinstance(scoring := built(None).scoring, summarization.Rouge)
    assert scoring.duc_splits == {"duc2003", "duc2004"}
    assert isinstance(scoring := built([]).scoring, summarization.Rouge) and not scoring.duc_splits
    with pytest.raises(ValueError, match="duc_splits must name splits of the corpus, got other"):
        built(["other"])


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (BatchSettings, {"size": 0}, "size must be an integer of at least 1 and at most 65,536, got 0"),
        (BatchSettings, {"count": "words"}, "count must be one of sentences, tokens, got 'words'"),
        (BatchSettings, {"label_smoothing": 1.0}, "label_smoothing must be .* below 1, got 1.0"),
        (TextSettings, {"tokenizer": "bytes"}, "tokenizer must be one of words, subwords, got 'bytes'"),
        (BatchSettings, {"pad_to_multiple": 1025}, "pad_to_multiple must be .* at most 1,024, got 1025"),
        (TextSettings, {"vocab_size": 4}, "vocab_size must be an integer of at least 5 and .*, got 4"),
        (TextSettings, {"tokenizer": "subwords", "moses": True}, "moses must be false for subwords"),
    ],
)
def test_other_settings_are_refused(settings: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**options)
