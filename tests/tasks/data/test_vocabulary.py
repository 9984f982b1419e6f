"""Numbers of words are stable, complete and survive storage."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.vocabulary import PAD, SPECIAL, UNK, Vocabulary

WORDS = st.text(min_size=1, max_size=5).filter(lambda word: word not in SPECIAL)
COUNTS = st.dictionaries(WORDS, st.integers(1, 4), max_size=12)


def test_order_is_by_count_then_word() -> None:
    counts = Counter({"b": 2, "a": 2, "rare": 1, "c": 9})
    assert Vocabulary.from_counts(counts).words == ("<pad>", "<unk>", "c", "a", "b", "rare")
    assert Vocabulary.from_counts(counts, max_size=2).words[2:] == ("c", "a")


@given(counts=COUNTS, seed=st.randoms())
def test_order_of_counting_does_not_matter(counts: dict[str, int], seed) -> None:
    items = list(counts.items())
    seed.shuffle(items)
    one, other = Vocabulary.from_counts(Counter(counts)), Vocabulary.from_counts(Counter(dict(items)))
    assert one.words == other.words and one.sha256 == other.sha256


@given(counts=COUNTS)
def test_encoding_inverts_words(counts: dict[str, int]) -> None:
    vocabulary = Vocabulary.from_counts(Counter(counts))
    assert len(vocabulary) == len(counts) + 2
    assert vocabulary.encode(vocabulary.words) == list(range(len(vocabulary)))
    assert all(word in vocabulary for word in counts)


def test_unknown_words_share_one_number() -> None:
    vocabulary = Vocabulary(["a"])
    assert vocabulary.encode(["a", "b", "c"]) == [2, UNK, UNK] and "b" not in vocabulary
    assert vocabulary.encode(["<pad>", "<unk>"]) == [PAD, UNK]


def test_special_words_of_a_corpus_are_not_counted_twice() -> None:
    assert Vocabulary.from_counts(Counter({"<unk>": 5, "<pad>": 5, "a": 1})).words == (*SPECIAL, "a")


@given(counts=COUNTS)
def test_storage_keeps_everything(counts: dict[str, int]) -> None:
    vocabulary = Vocabulary.from_counts(Counter(counts))
    copy = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert copy.words == vocabulary.words and copy.sha256 == vocabulary.sha256


def test_checksum_sees_order_and_boundaries() -> None:
    lists = [["a", "b"], ["b", "a"], ["ab"], ["a"], [], ['a", "b']]
    assert len({Vocabulary(words).sha256 for words in lists}) == len(lists)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary(["a", "b", "a"]), "different words, got 'a' 2 times"),
        (lambda: Vocabulary(["<pad>"]), "got '<pad>' 2 times"),
        (lambda: Vocabulary.from_json(["a", "b"]), r"begins with \['<pad>', '<unk>'\], got \['a', 'b'\]"),
        (
            lambda: Vocabulary.from_counts(Counter("a"), max_size=-1),
            "max_size must be an integer of at least 0, got -1",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
