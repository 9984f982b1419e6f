"""The clause about the hypothesis's agent decides the label, and nothing short of it does."""

from collections import Counter

import pytest

from tasks.entailment import mini
from tasks.entailment.data import LABELS, Corpus, Pair
from tasks.entailment.mini import AGENTS, LONGEST, SHORTEST, generate
from tasks.entailment.task import baseline_accuracies

# What the words mean, written down apart from the grammar: side 0 of a topic excludes side 1.
MEANING = {
    "mood": ("happy glad joyful merry cheerful", "sad unhappy gloomy tearful grumpy"),
    "posture": ("resting idle sits naps lounges", "moving active runs jogs strolls"),
    "place": ("indoors inside kitchen library office", "outdoors outside garden forest street"),
}
SIDES = {
    word: (topic, side)
    for topic, sides in MEANING.items()
    for side, words in enumerate(sides)
    for word in words.split()
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate()


def all_pairs(corpus: Corpus) -> list[Pair]:
    return [pair for pairs in corpus.splits.values() for pair in pairs]


def judge(words: tuple[str, ...], hypothesis: tuple[str, ...]) -> str:
    """Derive the label from one clause, given that it is about the hypothesis's agent."""
    topic, side = SIDES[hypothesis[-1]]
    claimed = side ^ ("not" in hypothesis)
    said = {SIDES[word][1] for word in words if word in SIDES and SIDES[word][0] == topic}
    if not said:
        return "neutral"
    return "entailment" if said == {claimed} else "contradiction" if said == {1 - claimed} else "confused"


def test_the_same_words_everywhere(corpus: Corpus) -> None:
    assert corpus.sha256 == "979deede5f04799e1b9111c64a27cb8f7cfab87f41c0c5031dc3311f8a199c35"
    assert generate(train=9, dev=6, test=3, seed=5) == generate(train=9, dev=6, test=3, seed=5)
    assert generate(train=9, dev=6, test=3, seed=5).sha256 != generate(train=9, dev=6, test=3, seed=6).sha256


def test_held_out_pairs_do_not_depend_on_the_size_of_train(corpus: Corpus) -> None:
    small = generate(train=9)
    assert (small.splits["dev"], small.splits["test"]) == (corpus.splits["dev"], corpus.splits["test"])


def test_labels_are_balanced_and_the_hypothesis_tells_nothing(corpus: Corpus) -> None:
    assert corpus.name == "mini" and corpus.sizes == {"train": 9000, "dev": 900, "test": 900}
    for pairs in corpus.splits.values():
        with_label = [Counter(p.hypothesis for p in pairs if p.label == n) for n in range(len(LABELS))]
        assert with_label[0] == with_label[1] == with_label[2]


def test_the_evidence_decides(corpus: Corpus) -> None:
    for pair in all_pairs(corpus):
        assert pair.evidence is not None
        start, stop = pair.evidence
        clause = pair.premise[start:stop]
        assert [word for word in clause if word in AGENTS] == [pair.hypothesis[1]]
        assert judge(clause, pair.hypothesis) == LABELS[pair.label]


def test_the_other_clauses_do_not(corpus: Corpus) -> None:
    right = 0
    for pair in all_pairs(corpus):
        start, stop = pair.evidence or (0, 0)
        right += judge(pair.premise[:start] + pair.premise[stop:], pair.hypothesis) == LABELS[pair.label]
    assert right / len(all_pairs(corpus)) < 1 / 3


def test_premises(corpus: Corpus) -> None:
    pairs = all_pairs(corpus)
    premises = {pair.premise for pair in pairs}
    assert all(SHORTEST <= len(premise) <= LONGEST for premise in premises)
    assert all(len(set(premise) & set(AGENTS)) == 3 for premise in premises)
    starts = Counter(sum(word in AGENTS for word in p.premise[: (p.evidence or (0, 0))[0]]) for p in pairs)
    assert min(starts.values()) > 0.3 * len(pairs), "the evidence prefers a place among the clauses"


def test_no_premise_stands_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"AGENTS": AGENTS[:3], "OPENINGS": ((),), "CONNECTIVES": ("and",)}
    few |= {"OTHER_ADJECTIVES": ("old",), "OTHER_VERBS": ("hums",), "OTHER_PLACES": (("alone",),)}
    for name, words in few.items():  # so few that chance alone would repeat some
        monkeypatch.setattr(mini, name, words)
    premises = Counter(pair.premise for pair in all_pairs(generate(train=3000, dev=300, test=300)))
    assert max(premises.values()) == 1


def test_held_out_words_occur_in_train(corpus: Corpus) -> None:
    words = {
        split: {word for pair in pairs for word in pair.premise + pair.hypothesis}
        for split, pairs in corpus.splits.items()
    }
    assert words["dev"] | words["test"] <= words["train"]


def test_baselines_fail(corpus: Corpus) -> None:
    accuracies = baseline_accuracies(corpus, epochs=6)
    assert accuracies["majority"] == pytest.approx(1 / 3)
    assert accuracies["hypothesis only"] <= 0.40
    assert 0.42 < accuracies["bag of features"] <= 0.60, "above: too easy; below: the baseline has not learnt"


def test_the_baseline_learns_where_bags_suffice() -> None:
    easy = [Pair((word, "x"), ("y", "z"), label) for label, word in enumerate("bcd")] * 100
    accuracies = baseline_accuracies(Corpus("easy", "", {"train": easy, "dev": easy, "test": easy}, {}))
    assert accuracies["bag of features"] == 1.0 and accuracies["hypothesis only"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("split", "size"), [("train", 10), ("dev", 0), ("test", -3)])
def test_sizes_are_multiples_of_three(split: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"{split} must be a positive multiple of 3, got {size}"):
        generate(**{"train": 3, "dev": 3, "test": 3, split: size})
