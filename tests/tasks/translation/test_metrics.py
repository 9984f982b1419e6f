"""BLEU and chrF of translations."""

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from tasks.bootstrap import Comparison, compare, resampled_scores
from tasks.packages import PackageError
from tasks.translation.metrics import bleu, bleu_of_items
from tasks.translation.task import Bleu

REFERENCES = [
    ("The old boat lies in the harbour.", "An old boat is lying in the harbour."),
    ("Two girls are eating apples, aren't they?", "Two girls eat apples, don't they?"),
    ("A dog runs across the wet grass.", "A dog is running over wet grass."),
    ('She said: "It rains again."', 'She said: "It is raining again."'),
    ("Nobody saw the train leave the station.", "No one saw the train leave the station."),
]
SYSTEM = [
    "The old boat is lying in the harbour.",
    "Two girls eat apples, aren't they?",
    "A dog is running across the grass.",
    'She said: "It rains again."',
    "",
]
BASELINE = [
    "An old boat in the harbour.",
    "Two girls apples.",
    "A dog runs.",
    "She said rain.",
    "Nobody left.",
]


def test_one_reference_by_hand() -> None:
    # 5 of 6 words, 4 of 5 pairs, 3 of 4 triples and 2 of 3 runs of four words; no brevity penalty.
    score = bleu(["a cat sits on the mat"], [("the cat sits on the mat",)]).metrics["bleu"]
    assert score == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4))


def test_several_references_and_an_empty_output() -> None:
    scores = bleu(SYSTEM, REFERENCES)
    streams = [[item[0] for item in REFERENCES], [item[1] for item in REFERENCES]]
    assert scores.metrics["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SYSTEM, streams).score)
    assert scores.metrics["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SYSTEM, streams).score)
    assert 0 < scores.metrics["bleu"] < bleu(SYSTEM[:4], REFERENCES[:4]).metrics["bleu"] < 100


@pytest.mark.parametrize("language", ["zh", "zh_CN", "ZH"])
def test_chinese_is_cut_into_characters_in_score_bootstrap_and_signature(language: str) -> None:
    outputs, references = (
        ["一只小狗在草地上跑。", "两个孩子在看书。"],
        [("一只小狗在草地上奔跑。",), ("两个孩子看书。",)],
    )
    scores = bleu(outputs, references, language=language)
    official = sacrebleu.corpus_bleu(outputs, [[text for (text,) in references]], tokenize="zh").score
    assert scores.metrics["bleu"] == pytest.approx(official) and official > 50
    assert bleu_of_items(np.array(scores.items["bleu"])) == pytest.approx(official)
    assert "|tok:zh|" in scores.signatures["bleu"]
    assert bleu(outputs, references).metrics["bleu"] < 1  # a sentence is one word to 13a


@pytest.mark.parametrize(("language", "package"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_a_language_without_its_package_is_refused_at_once(language: str, package: str) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(PackageError, match=rf"{package}, got none: pip install 'sacrebleu\[{language}\]'"):
        Bleu(language, tokenized=False)


def test_only_empty_outputs_score_nothing() -> None:
    assert bleu([""] * 5, REFERENCES).metrics == {"bleu": 0.0, "chrf": 0.0}


def test_signatures_name_the_settings() -> None:
    signatures = bleu(SYSTEM, REFERENCES).signatures
    assert set(signatures) == {"bleu", "chrf"}
    for name, settings in (("bleu", "tok:13a|smooth:exp"), ("chrf", "nc:6|nw:0|space:no")):
        assert signatures[name].startswith("nrefs:2|case:mixed|eff:")
        assert settings in signatures[name] and f"version:{sacrebleu.__version__}" in signatures[name]


def test_moses_tokens_are_put_together_first() -> None:
    references = [("Elle n'a pas vu l'ombre, n'est-ce pas ?",)]
    tokens = "Elle n&apos; a pas vu l&apos; ombre , n&apos; est-ce pas ?"
    scores = bleu([tokens], [(tokens,)], language="fr", tokenized=True)
    assert scores.metrics["bleu"] == pytest.approx(100)
    assert re.fullmatch(r"sacremoses [\d.]+, fr", scores.signatures["detokenizer"])
    # Both sides are put together: a word more on one of them counts on plain text.
    shorter = bleu([tokens.removesuffix(" ?")], [(tokens,)], language="fr", tokenized=True).metrics["bleu"]
    assert shorter == pytest.approx(
        bleu(["Elle n'a pas vu l'ombre, n'est-ce pas"], references).metrics["bleu"]
    )


def bootstrap(baseline: list[str], system: list[str], references: list[Any], **options: int) -> Comparison:
    """That of the items which a record keeps."""
    items = (bleu(outputs, references).items["bleu"] for outputs in (baseline, system))
    first, second = (resampled_scores(counts, score=bleu_of_items, **options) for counts in items)
    return compare(second - first)


def test_the_bootstrap_scores_resampled_corpora() -> None:
    result = bootstrap(BASELINE, SYSTEM, REFERENCES, samples=50, seed=7)
    random = np.random.RandomState(7)
    differences = []
    for _ in range(50):
        items = random.randint(5, size=5)
        drawn = [REFERENCES[i] for i in items]
        system, baseline = (bleu([texts[i] for i in items], drawn) for texts in (SYSTEM, BASELINE))
        differences.append(system.metrics["bleu"] - baseline.metrics["bleu"])
    expected = bleu(SYSTEM, REFERENCES).metrics["bleu"] - bleu(BASELINE, REFERENCES).metrics["bleu"]
    assert result.difference == pytest.approx(expected)
    assert [result.low, result.high] == pytest.approx(list(np.quantile(differences, [0.025, 0.975])))
    assert result == bootstrap(BASELINE, SYSTEM, REFERENCES, samples=50, seed=7)


def test_the_p_value_is_twice_that_of_sacrebleu() -> None:
    """sacrebleu counts one tail where the systems differ clearly."""
    random = np.random.RandomState(0)
    words = np.array(["the", "a", "dog", "cat", "boat", "runs", "sits", "sees", "near", "small"])
    references = [" ".join(random.choice(words, size=12)) for _ in range(80)]

    def spoil(rate: float) -> list[str]:
        return [
            " ".join(word if random.rand() > rate else str(random.choice(words)) for word in text.split())
            for text in references
        ]

    baseline, system = spoil(0.30), spoil(0.28)
    ours = bootstrap(baseline, system, [(text,) for text in references], samples=2000)
    named = [("baseline", baseline), ("system", system)]
    _, results = PairedTest(named, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=2000)()
    first, second = results["BLEU"]
    assert ours.difference == pytest.approx(second.score - first.score)
    assert 0.01 < ours.p_value < 0.3
    assert ours.p_value == pytest.approx(2 * second.p_value, rel=0.3)


@pytest.mark.parametrize(
    ("outputs", "references", "options", "message"),
    [
        (["a"], [("a",), ("b",)], {}, "an output for every item, got 1 outputs for 2 items"),
        ([], [], {}, "an output for every item, got 0 outputs for 0 items"),
        (["a", "b"], [("a",), ("b", "c")], {}, "the same number of references, at least 1, got 1, 2"),
        (["a"], [()], {}, "the same number of references, at least 1, got 0"),
        (["a"], ["a"], {}, "must have a tuple of references, got a text"),
        (["a"], [("a",)], {"tokenized": True}, "must have the code of their language, got None"),
    ],
)
def test_refusals(
    outputs: list[str], references: list[object], options: dict[str, bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bleu(outputs, references, **options)  # type: ignore[arg-type]
