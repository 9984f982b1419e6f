"""Words keep their numbers, their places and, cut by Moses, their characters."""

import copy
import itertools
import json
import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.tokenizers import WordTokenizer
from tasks.data.vocabulary import BOS, BOUNDARIES, EOS, PAD, SPECIAL, UNK, Vocabulary

SPECIALS = (*SPECIAL, *BOUNDARIES)
CHARACTERS = st.characters() | st.sampled_from(" \t\x00\x1f\u2028\u0301.,'\"-&|<>[]DOTMULTI7ßİΣ日😀")
PIECES = st.text(CHARACTERS, max_size=8) | st.sampled_from([*SPECIALS, "z.B.", "3,000", "...", "DOTMULTI"])
TEXTS = st.lists(PIECES, max_size=12).map(" ".join)
NORMALIZERS = st.builds(Normalizer, st.booleans(), st.booleans())
LANGUAGES = st.sampled_from([None, "de", "en", "fr", "zh"])


@given(text=TEXTS, normalizer=NORMALIZERS)
def test_known_words_come_back_as_they_were(text: str, normalizer: Normalizer) -> None:
    tokenizer = WordTokenizer.train([f"{text} a"], normalizer=normalizer)
    ids = tokenizer.encode(text)
    known = [word for word in normalizer(text).split(" ") if word and word not in SPECIALS]
    assert tokenizer.decode([number for number in ids if number != UNK]) == " ".join(known)
    assert tokenizer.decode(ids, tokenizer.tokens(text)) == normalizer(text)


@given(text=TEXTS, normalizer=NORMALIZERS, moses=LANGUAGES)
def test_tokens_numbers_and_places_agree(text: str, normalizer: Normalizer, moses: str | None) -> None:
    tokenizer = WordTokenizer.train([text, "a b"], normalizer=normalizer, moses=moses)
    tokens, ids, words = tokenizer.tokens(text), tokenizer.encode(text), tokenizer.words(text)
    assert len(tokens) == len(ids) == len(words)
    assert not {PAD, BOS, EOS} & {*ids}
    assert [n == UNK for n in ids] == [token in SPECIALS for token in tokens]
    assert [t for t, n in zip(tokens, ids, strict=True) if n != UNK] == [
        t for t in tokenizer.show(ids) if t != "<unk>"
    ]
    assert all(token and not any(map(str.isspace, token)) for token in tokens)


@given(text=TEXTS, moses=LANGUAGES)
def test_the_tokens_of_a_word_spell_it(text: str, moses: str | None) -> None:
    tokenizer = WordTokenizer(Vocabulary(BOUNDARIES), moses=moses)
    spelt: dict[int, str] = {}
    for token, word in zip(tokenizer.tokens(text), tokenizer.words(text), strict=True):
        spelt[word] = spelt.get(word, "") + token
    junk = dict.fromkeys(range(32)) if moses else {}
    wanted = {i: PLAIN(word.translate(junk)) for i, word in enumerate(PLAIN(text).split())}
    # Cut off its letter, a mark may be composed no further: compare what both become.
    assert {i: PLAIN(word) for i, word in spelt.items()} == {i: w for i, w in wanted.items() if w}
    assert tokenizer.words(text) == sorted(tokenizer.words(text))


@pytest.mark.parametrize(
    ("moses", "text", "tokens", "words"),
    [
        (None, "Der Hund, z.B. IST da.", "der hund, z.b. ist da.", [0, 1, 2, 3, 4]),
        ("de", "Der Hund, z.B. IST da.", "der hund , z.b. ist da .", [0, 1, 1, 2, 3, 4, 4]),
        ("de", "3,000 Euro... (Dr. Ott)", "#,### euro ... ( dr. ott )", [0, 1, 1, 2, 2, 3, 3]),
        ("en", "the dog's \x00 T-shirt & İ", "the dog 's t-shirt & i̇", [0, 1, 1, 3, 4, 5]),
        ("de", "ein DOTMULTI, nicht?", "ein dotmulti, nicht?", [0, 1, 2]),
        ("de", "</s> a", "< / s > a", [0, 0, 0, 0, 1]),
    ],
)
def test_cuts(moses: str | None, text: str, tokens: str, words: list[int]) -> None:
    tokenizer = WordTokenizer(Vocabulary(BOUNDARIES), Normalizer(lowercase=True, digits=True), moses)
    assert tokenizer.tokens(text) == tokens.split(" ") and tokenizer.words(text) == words


@pytest.mark.parametrize("text", ["Ein Hund (braun) läuft, und sagt: wau!", "Dr. Ott kam um 7.30 Uhr."])
def test_moses_puts_together_what_it_cut(text: str) -> None:
    tokenizer = WordTokenizer.train([text], moses="de")
    assert len(tokenizer.encode(text)) > len(text.split())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_entities_are_neither_written_nor_read() -> None:
    tokenizer = WordTokenizer.train(['"a & b" [c]'], moses="en")
    assert tokenizer.tokens('"a & b" [c]') == ['"', "a", "&", "b", '"', "[", "c", "]"]
    assert tokenizer.decode([UNK], ["&amp;"]) == "&amp;"


def test_numbers_follow_frequency_and_specials_are_never_learnt() -> None:
    tokenizer = WordTokenizer.train(["</s> b a <unk>", "<s> <pad> b c </s> </s>"])
    assert tokenizer.vocabulary.words == (*SPECIALS, "b", "a", "c") and len(tokenizer) == 7
    assert tokenizer.encode("<pad> <unk> <s> </s> b") == [UNK, UNK, UNK, UNK, 4]
    assert len(WordTokenizer.train(["a a b c"], max_size=1)) == 5


def test_special_tokens_are_stripped_and_unknown_replaced() -> None:
    tokenizer = WordTokenizer.train(["a b"])
    ids = [BOS, 4, UNK, 5, EOS, PAD]
    assert tokenizer.decode(ids) == "a <unk> b"
    assert tokenizer.decode(ids, ["?", "?", "dog", "?", "?", "?"]) == "a dog b"
    assert tokenizer.show(ids) == ["<s>", "a", "<unk>", "b", "</s>", "<pad>"]
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == [] == tokenizer.words(" \u2028")


def test_a_long_line_is_a_line() -> None:
    text = "ab " * 50_000 + "c" * 50_000
    for moses in (None, "de"):
        tokenizer = WordTokenizer.train([text], moses=moses)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.words(text) == list(range(50_001))


def test_copies_do_the_same() -> None:
    tokenizer = WordTokenizer.train(["Ein Hund."], moses="de")
    for twin in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert twin.encode("Ein Hund.") == [5, 6, 4] and twin.sha256 == tokenizer.sha256


def test_checksum_sees_everything_and_order_of_texts_nothing() -> None:
    texts = ["a b", "c A 1"]
    tokenizers = [
        WordTokenizer.train(texts[:count], normalizer=Normalizer(lowercase, digits), moses=moses)
        for count, lowercase, digits, moses in itertools.product(
            [1, 2], [False, True], [False, True], [None, "de"]
        )
    ]
    assert set(Counter(tokenizer.sha256 for tokenizer in tokenizers).values()) == {1}
    assert WordTokenizer.train(texts).sha256 == WordTokenizer.train(texts[::-1]).sha256
    assert json.dumps(WordTokenizer.train(texts).to_json()) == json.dumps(
        WordTokenizer.train(texts).to_json()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: WordTokenizer.train([]), "at least one word to learn from, got none"),
        (
            lambda: WordTokenizer.train([" ", "\u2028"], moses="de"),
            "at least one word to learn from, got none",
        ),
        (lambda: WordTokenizer.train(["a"], moses="xx"), "one of the languages .*de.*, got 'xx'"),
        (
            lambda: WordTokenizer(Vocabulary(["a"])),
            r"must begin with .*'</s>'\), got \('<pad>', '<unk>', 'a'\)",
        ),
        (lambda: WordTokenizer.train(["a"]).show([5]), r"lie in 0 ... 4, got \[5\]"),
        (lambda: WordTokenizer.train(["a"]).decode([-1]), r"lie in 0 ... 4, got \[-1\]"),
        (
            lambda: WordTokenizer.train(["a"]).decode([4], ["a", "b"]),
            "unknown must have a token for each of 1 number, got 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
