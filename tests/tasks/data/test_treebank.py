"""Raw and treebank-tokenised text come out the same, and cutting twice changes nothing."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.data.normalize import tokenize

SPECIAL = st.sampled_from(
    ["n't", "'s", "'", "''", "``", '"', "-LRB-", "-", "--", "...", "\u2026", "3.5", ",", "U.S.", "Mr.",
     "cannot", "\u2028", "\x85", "\r", "\0", "\ufeff", "\u0301", "\u0130", "\u03a3", "\u212a", "\u017f",
     "\u00c5", " "]
)  # fmt: skip
TEXT = st.lists(SPECIAL | st.text(max_size=4), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("raw", "cut"),
    [
        ("They don't sleep.", "They do n't sleep ."),
        ("The dog's bone", "The dog 's bone"),
        ("A man can't swim, she'll see", "A man ca n't swim , she 'll see"),
        ('He says "no"!', "He says `` no '' !"),
        ("\u201cno\u201d, it\u2019s", '" no " , it \'s'),
        ("I cannot (ever) wait", "I can not -LRB- ever -RRB- wait"),
        ("gonna, wanna, gotta", "gon na , wan na , got ta"),
        ("At 5 p.m., Mr. Li left the U.S.", "At 5 p.m. , Mr. Li left the U.S."),
        ("1,000 of them...", "1,000 of them ..."),
        ("the dogs' owner", "the dogs ' owner"),
    ],
)
def test_raw_and_cut_text_agree(raw: str, cut: str) -> None:
    assert tokenize(raw) == tokenize(cut)


@pytest.mark.parametrize(
    "word", ["t-shirt", "3.5", "1,000", "10:30", "o'clock", "caf\u00e9", "\u0434\u043e\u043c", "u.s.", "n't"]
)
def test_one_word_stays_one(word: str) -> None:
    assert tokenize(f"x {word} y") == ["x", word, "y"]


def test_punctuation_stands_apart() -> None:
    assert tokenize("a,b;(c)/d?") == ["a", ",", "b", ";", "(", "c", ")", "/", "d", "?"]


@pytest.mark.parametrize("lowercase", [True, False])
@given(text=TEXT)
@example(text="-l\u017fb-")
@settings(max_examples=250)
def test_cutting_twice_changes_nothing(lowercase: bool, text: str) -> None:
    words = tokenize(text, lowercase=lowercase)
    assert tokenize(" ".join(words), lowercase=lowercase) == words


@given(text=TEXT)
@example(
    text="'s\ufeff\u0301"
)  # an accent that meets its letter once the byte-order mark between them is dropped
@settings(max_examples=200)
def test_words_hold_no_space_and_no_letter_is_lost(text: str) -> None:
    words = tokenize(text, lowercase=False)
    assert all(word and not any(map(str.isspace, word)) for word in words)
    letters = [c for c in unicodedata.normalize("NFC", text.replace("\ufeff", "")) if c.isalnum()]
    bracket_free = "-l" not in text.lower() and "-r" not in text.lower()
    assert not bracket_free or [c for c in "".join(words) if c.isalnum()] == letters


def test_composed_and_decomposed_letters_agree() -> None:
    assert tokenize("Cafe\u0301") == tokenize("CAF\u00c9") == ["caf\u00e9"]


def test_byte_order_mark_and_odd_spaces_vanish() -> None:
    assert tokenize("\ufeffa\u2028b\x85c\u00a0d\r\n") == ["a", "b", "c", "d"]


def test_case_is_kept_on_request() -> None:
    assert tokenize("The U.S. isn't", lowercase=False) == ["The", "U.S.", "is", "n't"]


def test_a_megabyte_is_cut_in_linear_time() -> None:
    assert len(tokenize("a" * 1_000_000)) == 1
    assert len(tokenize("don't " * 100_000)) == 200_000
