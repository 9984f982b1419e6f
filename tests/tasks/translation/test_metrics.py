"""BLEU and chrF of translations."""

import re
from importlib.util import find_spec

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from scripts.paper.significance import score_by_totals
from tasks.checks import PackageError
from tasks.translation.task import Bleu, bleu, bleu_of_totals

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


@pytest.mark.parametrize("language", ["zh", "zh_CN", "ZH", "zho_Hans", "cmn"])
def test_chinese_is_cut_into_characters_in_score_bootstrap_and_signature(language: str) -> None:
    outputs, references = (
        ["一只小狗在草地上跑。", "两个孩子在看书。"],
        [("一只小狗在草地上奔跑。",), ("两个孩子看书。",)],
    )
    scores = bleu(outputs, references, language=language)
    official = sacrebleu.corpus_bleu(outputs, [[text for (text,) in references]], tokenize="zh").score
    assert scores.metrics["bleu"] == pytest.approx(official) and official > 50
    totals = np.array(scores.items["bleu"], dtype=float).sum(0)
    assert float(bleu_of_totals(totals, len(outputs))) == pytest.approx(official)
    assert "|tok:zh|" in scores.signatures["bleu"]
    assert bleu(outputs, references).metrics["bleu"] < 1  # a sentence is one word to 13a


@pytest.mark.parametrize("language", ["ja", "jpn_Jpan", "ko", "kor"])
def test_a_language_without_its_package_is_refused_at_once(language: str) -> None:
    package, code = {"j": ("MeCab", "ja"), "k": ("mecab_ko", "ko")}[language[0]]
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(PackageError, match=rf"{package}, got none: pip install 'sacrebleu\[{code}\]'"):
        Bleu(language, tokenized=False)


def test_only_empty_outputs_score_nothing() -> None:
    assert bleu([""] * 5, REFERENCES).metrics == {"bleu": 0.0, "chrf": 0.0}


def test_signatures_name_the_settings() -> None:
    signatures = bleu(SYSTEM, REFERENCES).signatures
    assert set(signatures) == {"bleu", "chrf"}
    for name, settings in (("bleu", "tok:13a|smooth:exp"), ("chrf", "nc:6|nw:0|space:no")):
        assert signatures[name].startswith("nrefs:2|case:mixed|eff:")
        assert settings in signatures[name] and f"version:{sacrebleu.__version__}" in signatures[name]


def test_case_does_not_count_where_lower_case_is_written() -> None:
    outputs, references = [text.lower() for text in SYSTEM[:4]], [(text,) for text in SYSTEM[:4]]
    assert bleu(outputs, references).metrics["bleu"] < 90
    scores = bleu(outputs, references, lowercase=True)
    assert scores.metrics == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert all("|case:lc|" in signature for signature in scores.signatures.values())
    assert float(bleu_of_totals(np.array(scores.items["bleu"], dtype=float).sum(0), 4)) == pytest.approx(100)


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


def test_scores_of_totals_are_sacrebleus() -> None:
    """Also where orders have no match, the output is short, or there is none."""
    random = np.random.RandomState(0)
    for _ in range(2000):
        system, reference = int(random.randint(0, 8)), int(random.randint(1, 9))
        of = [max(0, system - n) for n in range(4)]
        found = [int(random.randint(0, n + 1)) if random.rand() > 0.3 else 0 for n in of]
        wanted = BLEU.compute_bleu(found, of, system, reference, smooth_method="exp").score
        totals = np.array([system, reference, *found, *of], dtype=float)
        assert float(bleu_of_totals(totals, 1)) == pytest.approx(wanted, abs=1e-9)


def test_the_bootstrap_scores_resampled_corpora() -> None:
    items = [bleu(outputs, REFERENCES).items["bleu"] for outputs in (BASELINE, SYSTEM)]
    times: list[np.ndarray] = []

    def keep(totals: np.ndarray, count: int) -> np.ndarray:
        times.extend(totals.reshape(-1, count))
        return totals[..., 0]

    score_by_totals(np.eye(5)[np.newaxis], keep, samples=50, seed=7)  # which items were drawn
    for texts, run in zip(
        (BASELINE, SYSTEM), score_by_totals(items, bleu_of_totals, samples=50, seed=7), strict=True
    ):
        *wanted, real = (
            bleu([texts[i] for i in chosen], [REFERENCES[i] for i in chosen]).metrics["bleu"]
            for chosen in (np.repeat(np.arange(5), drawn.astype(int)) for drawn in times)
        )
        assert run.score == pytest.approx(real)
        assert run.effects == pytest.approx((wanted - np.mean(wanted)) / 50**0.5)


@pytest.mark.parametrize(
    ("outputs", "references", "options", "message"),
    [
        (["a"], [("a",), ("b",)], {}, "argument 2 is longer"),
        (["a", "b"], [("a",), ("b", "c")], {}, "the same number of references, at least 1, got 1, 2"),
        (["a"], [()], {}, "the same number of references, at least 1, got 0"),
        (["a"], [("a",)], {"tokenized": True}, "must have the code of their language, got None"),
    ],
)
def test_refusals(
    outputs: list[str], references: list[object], options: dict[str, bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bleu(outputs, references, **options)  # type: ignore[arg-type]
