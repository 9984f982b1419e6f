"""One way of writing, and never another number of words."""

import itertools
import json
import sys
import unicodedata
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.normalize import PLAIN, Normalizer

ALL = [Normalizer(lowercase, digits) for lowercase, digits in itertools.product([False, True], repeat=2)]
TEXTS = st.text(st.characters() | st.sampled_from(" \t\n\x00\u2028\u0301\u0307ΣIİK٣7😀"))  # surrogates too


@given(text=TEXTS, normalizer=st.sampled_from(ALL))
def test_twice_is_once_and_words_keep_their_number(text: str, normalizer: Normalizer) -> None:
    once = normalizer(text)
    assert normalizer(once) == once and unicodedata.is_normalized("NFC", once)
    assert once == " ".join(normalizer(word) for word in text.split())
    assert len(once.split(" ")) == max(1, len(text.split()))
    once.encode("utf-8")


def test_twice_is_once_for_every_character() -> None:
    normalizer = Normalizer(lowercase=True, digits=True)
    for code in range(sys.maxunicode + 1):
        once = normalizer(chr(code))
        assert normalizer(once) == once and bool(once) != chr(code).isspace(), hex(code)


@pytest.mark.parametrize(
    ("normalizer", "text", "expected"),
    [
        (PLAIN, "\u3000Cafe\u0301 \xa0\u2028\x85  No. 7\r\n", "Caf\u00e9 No. 7"),
        (PLAIN, "\ufb01 \u2460 \uff21", "\ufb01 \u2460 \uff21"),  # composed, not made compatible
        (PLAIN, "a\ud83d b", "a\ufffd b"),
        (Normalizer(lowercase=True), "ÄRA ΟΔΟΣ \u212a\u030c 7", "ära οδος \u01e9 7"),
        (Normalizer(digits=True), "In 2017, ٣٤ and ② of 3.5", "In ####, ## and ② of #.#"),
    ],
)
def test_what_is_folded(normalizer: Normalizer, text: str, expected: str) -> None:
    assert normalizer(text) == expected


def test_storage_keeps_everything() -> None:
    assert [Normalizer(**json.loads(json.dumps(asdict(normalizer)))) for normalizer in ALL] == ALL


def test_signs_for_digits_are_cut_as_digits_are() -> None:
    form = Normalizer(lowercase=True, digits=True, treebank=True)
    text = "In 2017, 25-year-old Ann paid $3.50 (1,000 times) at 10:30."
    wanted = "in #### , ##-year-old ann paid $ #.## ( #,### times ) at ##:## ."
    assert form(text) == wanted == form(wanted)
    assert Normalizer(treebank=True)("C# 05") == "C # 05"
