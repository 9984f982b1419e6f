"""One translation for each sentence, in order and agreement that word-by-word lookup misses."""

from collections import Counter, defaultdict

import pytest

from tasks.seq2seq.data import Corpus, Example
from tasks.translation.mini import LANGUAGES, LONGEST, SHORTEST, Clause, Meaning, NounPhrase, generate

PAIRS = [f"{source}-{target}" for source in LANGUAGES for target in LANGUAGES if source != target]


@pytest.fixture(scope="module")
def corpora() -> dict[str, Corpus]:
    return {pair: generate(pair, train=6000 if pair == "de-en" else 1500) for pair in PAIRS}


def examples(corpus: Corpus) -> list[Example]:
    return [example for split in corpus.splits.values() for example in split]


def lookup(train: list[Example]) -> dict[str, str]:
    """For each word its most frequent sure translation."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        source, target = example.source.split(" "), example.target.split(" ")
        assert example.links
        for i, j in example.links.sure:
            counts[source[i]][target[j]] += 1
    return {word: found.most_common(1)[0][0] for word, found in counts.items()}


def test_the_same_words_everywhere(corpora: dict[str, Corpus]) -> None:
    assert corpora["de-en"].sha256 == "14483d2527f8db9f285f636d01c76ed14032caebb85f578880ceb9cdf97681b2"
    assert generate(train=5, dev=3, test=2, seed=1).sha256 != generate(train=5, dev=3, test=2).sha256


def test_held_out_sentences_do_not_depend_on_the_size_of_train(corpora: dict[str, Corpus]) -> None:
    small = generate("fr-en", train=9)
    assert small.splits["dev"] == corpora["fr-en"].splits["dev"]
    assert small.splits["test"] == corpora["fr-en"].splits["test"]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_sentence_has_one_translation_and_stands_in_one_split(
    corpora: dict[str, Corpus], pair: str
) -> None:
    corpus = corpora[pair]
    assert corpus.name == f"mini-{pair}"
    assert corpus.sizes == {"train": 6000 if pair == "de-en" else 1500, "dev": 400, "test": 400}
    all_of_it = examples(corpus)
    assert len({e.source for e in all_of_it}) == len({e.target for e in all_of_it}) == len(all_of_it)
    for text in (e.source.split(" ") for e in all_of_it):
        assert SHORTEST <= len(text) <= LONGEST and all(word.islower() or word == "," for word in text)
    assert 90 <= len({word for e in all_of_it for word in e.source.split(" ")}) <= 160


@pytest.mark.parametrize("pair", PAIRS)
def test_the_words_of_dev_and_test_are_known(corpora: dict[str, Corpus], pair: str) -> None:
    splits = corpora[pair].splits
    known = {word for e in splits["train"] for word in e.source.split(" ")}
    assert all(set(e.source.split(" ")) <= known for e in splits["dev"] + splits["test"])


def test_pairs_say_the_same(corpora: dict[str, Corpus]) -> None:
    forth, back = corpora["de-fr"].splits["train"], corpora["fr-de"].splits["train"]
    for one, other in zip(forth, back, strict=True):
        assert (one.source, one.target) == (other.target, other.source)
        assert one.links and other.links
        assert one.links.sure == {(i, j) for j, i in other.links.sure}
        assert one.links.possible == {(i, j) for j, i in other.links.possible}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_word_but_a_comma_is_linked_once_surely(corpora: dict[str, Corpus], pair: str) -> None:
    for example in examples(corpora[pair]):
        assert example.links and example.links.sure <= example.links.possible
        for side, text in enumerate((example.source, example.target)):
            words = text.split(" ")
            linked = {link[side] for link in example.links.possible}
            assert linked == {i for i, word in enumerate(words) if word != ","}
            assert max(Counter(link[side] for link in example.links.sure).values()) == 1


@pytest.mark.parametrize("pair", PAIRS)
def test_looking_words_up_is_not_enough(corpora: dict[str, Corpus], pair: str) -> None:
    """Word by word, even with the best lexicon, few sentences come out right, but from French to English."""
    splits = corpora[pair].splits
    lexicon = lookup(splits["train"])
    said = [" ".join(lexicon.get(word, "") for word in e.source.split(" ")) for e in splits["test"]]
    right = sum(" ".join(a.split()) == e.target for a, e in zip(said, splits["test"], strict=True))
    assert right / len(said) < {"fr-en": 0.55, "en-fr": 0.25}.get(pair, 0.05)


def test_verbs_and_particles_of_german_stand_apart() -> None:
    distances = [
        max(i for i, _ in links) - min(i for i, _ in links)
        for example in generate("de-en", train=300).splits["train"]
        if example.links
        for j in range(len(example.target.split(" ")))
        if (links := [link for link in example.links.possible if link[1] == j])
    ]
    assert max(distances) >= 5


def test_the_example_of_the_documentation() -> None:
    woman, window = NounPhrase("woman", "the"), NounPhrase("window", "the", adjective="old")
    meaning = Meaning(
        Clause(woman, "open", "present", window, adverb="now"), Clause(woman, "laugh", "perfect")
    )
    text = {name: " ".join(w for w, _ in language(meaning)) for name, language in LANGUAGES.items()}
    assert text == {
        "de": "jetzt macht die frau , die gelacht hat , das alte fenster auf",
        "en": "now the woman who has laughed opens the old window",
        "fr": "maintenant la femme qui a ri ouvre la vieille fenêtre",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pair": "de-de"}, "pair must name two different languages of de, en, fr, got 'de-de'"),
        ({"pair": "deen"}, "pair must name two different languages of de, en, fr, got 'deen'"),
        ({"pair": "de-en-fr"}, "pair must name two different languages of de, en, fr, got 'de-en-fr'"),
        ({"dev": 0}, "dev must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(**arguments)  # type: ignore[arg-type]
