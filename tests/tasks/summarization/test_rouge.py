"""ROUGE of summaries, against the numbers of the Perl script."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from tasks.summarization.task import (
    DUC,
    GIGAWORD,
    RougeRule,
    duc_output,
    rouge_items,
)

GOLDEN = json.loads(Path(__file__).with_name("rouge_golden.json").read_text(encoding="utf-8"))
NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def rouge(outputs: list[str], references: list[Any], rule: RougeRule) -> dict[str, float]:
    """That of a test set."""
    return {name: float(np.mean(scores)) for name, scores in rouge_items(outputs, references, rule).items()}


WORDS = st.lists(st.sampled_from(["boat", "boats", "red", "sea", "é", "a-b"]), max_size=9).map(" ".join)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize(
    ("setting", "references", "limit"), [("single_nolimit", 1, None), ("refs4_b75", 4, 75)]
)
@pytest.mark.parametrize(("column", "measure"), [(0, "recall"), (1, "f1")])
def test_every_number_is_that_of_the_script(
    setting: str, references: int, limit: int, column: int, measure: str, stem: bool
) -> None:
    """All 60 items, stemmed ones too: no irregular form of theirs was known to the script."""
    rule = RougeRule(limit, stem, measure)  # type: ignore[arg-type]
    ours = rouge_items(GOLDEN["hyps"], [item[:references] for item in GOLDEN["refs"]], rule)
    theirs = GOLDEN["scores"][f"{setting}_{'stem' if stem else 'nostem'}"]
    for name, official in NAMES.items():
        assert len(ours[name]) == 60
        expected = [100 * scores[column] for scores in theirs[official]]
        # The script rounds recall and precision to five decimals, then computes and rounds the F1 of those.
        assert ours[name] == pytest.approx(expected, abs=0.00051 if measure == "recall" else 0.00151)


def test_the_golden_items_tell_the_settings_apart() -> None:
    def scores(limit: int | None, stem: bool) -> list[float]:
        return rouge_items(GOLDEN["hyps"], GOLDEN["refs"], RougeRule(limit, stem, "recall"))["rouge1"]

    whole, cut, stemmed = (np.array(scores(*rule)) for rule in ((None, False), (75, False), (75, True)))
    assert (whole != cut).sum() > 30
    assert (stemmed != cut).sum() > 15


@given(WORDS, WORDS)
def test_one_whole_reference_is_scored_as_by_rouge_score(output: str, reference: str) -> None:
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(reference, output)
    for name, score in rouge([output], [[reference]], GIGAWORD).items():
        assert score == pytest.approx(100 * theirs[name].fmeasure)


def test_counts_are_pooled_over_references() -> None:
    # Two of two words in one reference, none of six in the other: neither 100 nor 50.
    item = [("red boat", "they sail out to the sea")]
    assert rouge(["red boat"], item, DUC)["rouge1"] == pytest.approx(100 * 2 / 8)


def test_the_cut_is_in_bytes_and_on_both_sides() -> None:
    def recall(output: str, reference: str, limit: int) -> float:
        return rouge([output], [(reference,)], RougeRule(limit, False, "recall"))["rouge1"]

    assert recall("boat sea", "boat sea", 8) == 100
    assert recall("boat sea", "boat se", 7) == 100  # the output ends inside of a word
    assert recall("boat se", "boat sea", 7) == 100  # and so does the reference
    assert recall("é sea", "sea", 5) == 0  # é has two bytes: "é se"
    assert recall("boaté", "boat", 5) == 100  # half of é is a boundary like é


def test_letters_outside_of_ascii_are_boundaries() -> None:
    # Python's lower case of the Kelvin sign is an ASCII letter, Perl's is not.
    kelvin = "\N{KELVIN SIGN}"
    assert rouge([f"{kelvin}iln"], [("kiln",)], GIGAWORD)["rouge1"] == 0
    assert rouge([f"{kelvin}iln"], [("iln",)], GIGAWORD)["rouge1"] == 100


def test_an_output_ends_at_its_first_unknown_word_by_rule() -> None:
    whole, ended = (RougeRule(None, False, "recall", until_bracket=end) for end in (False, True))
    output, references = ["red <unk> boat"], [("red UNK boat",)]
    assert rouge(output, references, whole)["rouge1"] == 100  # the script's case is lower, too
    assert rouge(output, references, ended)["rouge1"] == pytest.approx(100 / 3)
    assert (whole.signature, ended.signature) == ("recall|cut:none|stem:no", "recall|cut:none|stem:no|end:<")


@pytest.mark.parametrize("text", ["Сто судов вышли в море", "一只小狗在跑", "पानी में नाव", "Ärzte", "ships"])
def test_letters_of_every_alphabet_make_words_by_rule(text: str) -> None:
    rule = RougeRule(None, True, "f1", letters="unicode")
    assert rouge([text.upper()], [(text,)], rule)["rouge1"] == 100
    assert rouge([text], [("море 跑 x",)], rule)["rouge1"] < 100
    assert rule.signature.endswith("|letters:unicode")
    if text != "ships":
        assert rouge([text], [(text,)], GIGAWORD)["rouge2"] == 0


def test_unicode_words_are_those_of_ascii_there() -> None:
    rules = [RougeRule(75, True, "recall", letters=letters) for letters in ("ascii", "unicode")]
    items = [
        (h, r) for h, r in zip(GOLDEN["hyps"], GOLDEN["refs"], strict=True) if "".join([h, *r]).isascii()
    ]
    assert len(items) > 30
    ascii_only, unicode = (rouge_items(*zip(*items, strict=True), rule) for rule in rules)
    assert ascii_only == unicode
    assert rouge(["лодка"], [("лодки",)], RougeRule(9, False, "recall", letters="unicode"))["rouge1"] == 100


def test_the_mean_is_over_items() -> None:
    items = rouge_items(["red boat", "", "sea"], [("red boat",), ("sea",), ("a sea",)], DUC)
    assert items["rouge1"] == [100, 0, 50]
    assert rouge(["red boat", "", "sea"], [("red boat",), ("sea",), ("a sea",)], DUC)["rouge1"] == 50


@pytest.mark.parametrize(
    ("output", "source", "expected"),
    [
        ("## dead ## hurt", "In 12 boats , 36 men", "36 dead 36 hurt"),  # the last one, again and again
        ("## of ##", "In 12 boats", "12 of 12"),
        ("### men", "12 boats , 1234 men", "### men"),  # another length
        ("a ##-year-old", "He was 1.5 m and 17-year-old", "a 17-year-old"),
        ("near-##", "a 17-town", "near-##"),  # not within a word
        ("##.# pct", "in 2004 , a b1.5", "2004 pct"),  # of any form, if it begins with a digit
        ("$#.# , #,###", "It cost $7.5 , not 8,000", "$#.# , 8,000"),
        ("<s> a ##", "12 boats", "a 12"),
        ("no number", "12 boats", "no number"),
    ],
)
def test_numbers_come_from_the_source(output: str, source: str, expected: str) -> None:
    assert duc_output(output, source) == expected
    assert duc_output(f"  {output}  ", source) == expected


def test_an_empty_output_of_duc_is_a_word() -> None:
    assert duc_output("", "12 boats") == duc_output(" ", "12 boats") == "fail"
    assert duc_output("<s>", "12 boats") == "fail"
    assert rouge([duc_output("", "")], [("they fail",)], DUC)["rouge1"] == 50


@pytest.mark.parametrize(
    ("outputs", "references", "message"),
    [
        (["a"], [("a",), ("b",)], "argument 2 is longer"),
        (["a"], [()], "at least one reference, got none"),
    ],
)
def test_refusals(outputs: list[str], references: list[tuple[str, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rouge(outputs, references, DUC)


def test_a_rule_is_checked() -> None:
    with pytest.raises(ValueError, match="limit_bytes must be an integer of at least 1, got 0"):
        RougeRule(0, True, "f1")
    with pytest.raises(ValueError, match="measure must be one of recall, f1, got 'precision'"):
        RougeRule(None, True, "precision")  # type: ignore[arg-type]
