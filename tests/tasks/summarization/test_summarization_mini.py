"""One headline for each sentence, made of a few of its segments; where words stand decides, not which."""

from collections import Counter, defaultdict

import pytest

from tasks.seq2seq.data import Corpus, Example, Links
from tasks.summarization import mini
from tasks.summarization.mini import LONGEST, LONGEST_HEADLINE, SHORTEST, SHORTEST_HEADLINE, generate


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate()


def examples(corpus: Corpus) -> list[Example]:
    return [example for split in corpus.splits.values() for example in split]


def links_of(example: Example) -> Links:
    assert example.links
    return example.links


def test_the_same_words_everywhere(corpus: Corpus) -> None:
    assert corpus.sha256 == "6b61c640e7b2d1799d779a138a1de0d7af77e400715c2e53689c191904a40d7c"
    assert generate(train=5, dev=3, test=2, seed=1).sha256 != generate(train=5, dev=3, test=2).sha256


def test_held_out_sentences_do_not_depend_on_the_size_of_train(corpus: Corpus) -> None:
    small = generate(train=9)
    assert (small.splits["dev"], small.splits["test"]) == (corpus.splits["dev"], corpus.splits["test"])


def test_sizes_lengths_and_splits(corpus: Corpus) -> None:
    assert (corpus.name, corpus.sizes) == ("mini", {"train": 6000, "dev": 400, "test": 400})
    all_of_it = examples(corpus)
    assert len({example.source for example in all_of_it}) == len(all_of_it)
    lengths = {len(example.source.split(" ")) for example in all_of_it}
    assert (min(lengths), max(lengths)) == (SHORTEST, LONGEST)
    lengths = {len(example.target.split(" ")) for example in all_of_it}
    assert (min(lengths), max(lengths)) == (SHORTEST_HEADLINE, LONGEST_HEADLINE)
    assert all(len(example.references) == 1 for example in all_of_it)
    assert 120 <= len({word for example in all_of_it for word in example.source.split(" ")}) <= 200


def test_the_words_of_dev_and_test_are_known(corpus: Corpus) -> None:
    known = {word for example in corpus.splits["train"] for word in example.source.split(" ")}
    held_out = corpus.splits["dev"] + corpus.splits["test"]
    assert all(set(example.source.split(" ")) <= known for example in held_out)


def test_the_headline_is_a_function_of_what_stays(corpus: Corpus) -> None:
    """Names, days and what stands between the kept phrases change nothing: the kept words decide."""
    headlines = defaultdict(set)
    for example in examples(corpus):
        words = example.source.split(" ")
        kept = sorted({i for i, _ in links_of(example).possible})
        headlines[" ".join(words[i] for i in kept)].add(example.target)
    assert max(map(len, headlines.values())) == 1


def test_every_word_of_a_headline_has_one_sure_source(corpus: Corpus) -> None:
    copied = total = 0
    for example in examples(corpus):
        words, headline = example.source.split(" "), example.target.split(" ")
        sure, possible = links_of(example)
        assert sure <= possible
        assert sorted(j for _, j in sure) == list(range(len(headline)))
        copied += sum(words[i] == headline[j] for i, j in sure)
        total += len(headline)
    assert 0.6 < copied / total < 0.9  # the rest is rewritten: called, calls


def test_a_headline_word_comes_from_one_segment(corpus: Corpus) -> None:
    for example in examples(corpus):
        places = defaultdict(set)
        for i, j in links_of(example).possible:
            places[j].add(i)
        for span in places.values():
            assert len(span) == max(span) - min(span) + 1


def test_words_that_one_headline_keeps_another_drops(corpus: Corpus) -> None:
    """Which words occur does not tell the headline."""
    counts = Counter(
        (word, word in example.target.split(" "))
        for example in examples(corpus)
        for word in set(example.source.split(" "))
    )
    for word in [*mini.NATIONS, "talks", "minister", "airline", "peace"]:
        assert min(counts[word, True], counts[word, False]) > 50, word


def test_a_word_of_a_headline_stands_in_its_sentence() -> None:
    for table in (mini.ACTIONS, mini.THINGS, mini.DEEDS, mini.PURPOSES):
        for words, headline in table.items():
            origins = [word.partition("<")[2] or word for word in headline.split()]
            assert set(origins) <= set(words.split()) and len(origins) == len(set(origins))


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="test must be at least 1, got 0"):
        generate(test=0)
