"""Subwords spell the text again, the same in every run, and never a special token."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.tokenizers import SubwordTokenizer
from tasks.data.vocabulary import BOS, BOUNDARIES, EOS, PAD, SPECIAL, UNK

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
TEXTS = ["the dog runs in the park", "a dog and a cat", "the cats ran", "in the park a dog ran after a cat"]
SPECIALS = (*SPECIAL, *BOUNDARIES)
CHARACTERS = st.characters() | st.sampled_from(
    " \t\u2028\u2029\u0085\u0301\u200b\ufeff\ufffd▁▅⁇ßİΣ٣日é😀👩\u200d"
)
PIECES = st.text(CHARACTERS, max_size=8) | st.sampled_from(
    [*SPECIALS, "x</s>", "<s><s>", "▁", "\x00", "1990"]
)
ODD = st.lists(PIECES, max_size=12).map(" ".join)
NORMALIZERS = st.builds(Normalizer, st.booleans(), st.booleans())
TOKENIZER = SubwordTokenizer.train(TEXTS, vocab_size=40)


def strip_special(text: str, normalizer: Normalizer) -> str:
    return normalizer(text).replace("▁", "_")


@settings(max_examples=60)
@given(text=ODD, normalizer=NORMALIZERS)
def test_texts_learnt_from_come_back(text: str, normalizer: Normalizer) -> None:
    tokenizer = SubwordTokenizer.train([text, "a dog"], normalizer=normalizer)
    known = text.replace("\x00", "").replace("▅", "")
    ids = tokenizer.encode(known)
    assert UNK not in ids and tokenizer.decode(ids) == strip_special(known, normalizer)
    assert tokenizer.show(ids) == tokenizer.tokens(known)


@given(text=ODD)
def test_tokens_numbers_and_places_agree(text: str) -> None:
    tokens, ids, words = TOKENIZER.tokens(text), TOKENIZER.encode(text), TOKENIZER.words(text)
    assert len(tokens) == len(ids) == len(words)
    assert not {PAD, BOS, EOS} & {*ids}
    assert TOKENIZER.decode(ids, tokens) == strip_special(text, PLAIN)
    spelt = ["" for _ in text.split()]
    for token, word in zip(tokens, words, strict=True):
        spelt[word] += token
    assert spelt == ["▁" + strip_special(word, PLAIN) for word in text.split()]


def test_pieces_and_unknown_characters_are_shown() -> None:
    text = "the dogs ran 日本 s"
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.tokens(text) == ["▁the", "▁dog", "s", "▁ran", "▁", "日本", "▁", "s"]
    assert TOKENIZER.words(text) == [0, 1, 1, 2, 3, 3, 4, 4]
    assert TOKENIZER.show(ids)[4:6] == ["▁", "<unk>"] and ids[5] == UNK
    assert TOKENIZER.decode([BOS, *ids, EOS, PAD]) == "the dogs ran <unk> s"
    assert TOKENIZER.decode(ids, [*"????", "?", "cat", "?", "?"]) == "the dogs ran cat s"
    assert TOKENIZER.decode([]) == "" and TOKENIZER.encode("") == [] == TOKENIZER.words(" \u2028")


def test_special_tokens_stand_first_and_spelled_are_text() -> None:
    assert TOKENIZER.show([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]
    tokenizer = SubwordTokenizer.train(["<s> </s> <unk> <pad> x</s>y"] * 9, vocab_size=100)
    ids = tokenizer.encode("<unk> </s> <pad><s>")
    assert min(ids) > EOS and tokenizer.decode(ids) == "<unk> </s> <pad><s>"


def test_the_same_texts_give_the_same_bytes() -> None:
    one, other = (SubwordTokenizer.train(iter(TEXTS), vocab_size=40) for _ in "12")
    assert one.model == other.model and one.sha256 == other.sha256


def test_no_sentence_is_left_out() -> None:
    long = (
        "x" * 70_000 + " ab" * 50_000
    )  # longer than sentencepiece takes unless told, and than 16 bits count
    tokenizer = SubwordTokenizer.train([long, "left ▅ right", "nul \x00 here"], vocab_size=100)
    ids = tokenizer.encode(f"{long} left right nul here")
    assert UNK not in ids and tokenizer.decode(ids) == f"{long} left right nul here"
    assert tokenizer.words(long)[-1] == 50_000


def test_an_error_of_reading_is_told() -> None:
    def texts() -> Iterator[str]:
        yield "a dog"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        SubwordTokenizer.train(texts())


def test_a_small_corpus_has_fewer_pieces_and_a_limit_is_kept() -> None:
    assert len(TOKENIZER) == 40 and 4 < len(SubwordTokenizer.train(["a"])) < 10


def test_checksum_sees_everything() -> None:
    tokenizers = [
        TOKENIZER,
        SubwordTokenizer.train(TEXTS, vocab_size=39),
        SubwordTokenizer.train([*TEXTS, "dogs"], vocab_size=40),
        SubwordTokenizer(TOKENIZER.model, Normalizer(lowercase=True)),
        SubwordTokenizer(TOKENIZER.model, Normalizer(digits=True)),
    ]
    assert len({tokenizer.sha256 for tokenizer in tokenizers}) == len(tokenizers)


def test_copies_do_the_same() -> None:
    for twin in (copy.deepcopy(TOKENIZER), pickle.loads(pickle.dumps(TOKENIZER))):
        assert twin.tokens("a dog ran") == TOKENIZER.tokens("a dog ran") and twin.sha256 == TOKENIZER.sha256


def test_training_writes_nothing(tmp_path: Path) -> None:
    code = "from tasks.data import tokenizers as t; t.SubwordTokenizer.train(['a dog']).encode('a b')"
    root = Path(__file__).resolve().parents[3]
    environment = {"PYTHONPATH": str(root), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "") and not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SubwordTokenizer.train([]), "at least one word to learn from, got none"),
        (lambda: SubwordTokenizer.train(["", "\u2028", "▅"]), "at least one word to learn from, got none"),
        (
            lambda: SubwordTokenizer.train(TEXTS, vocab_size=5),
            "learn 5 pieces, got: Vocabulary size is smaller than required_chars",
        ),
        (lambda: SubwordTokenizer.train(TEXTS, vocab_size=0), "vocab_size must be an .* at least 5, got 0"),
        (lambda: SubwordTokenizer(b""), "sentencepiece model"),
        (lambda: SubwordTokenizer(b"not a model"), "a sentencepiece model, got none"),
        (lambda: SubwordTokenizer(TOKENIZER.model[:-9]), "a sentencepiece model, got none"),
        (lambda: SubwordTokenizer(TOKENIZER.model[:30]), "sentencepiece model"),
        (lambda: TOKENIZER.show([40]), r"lie in 0 ... 39, got \[40\]"),
        (lambda: TOKENIZER.decode([-1]), r"lie in 0 ... 39, got \[-1\]"),
        (lambda: TOKENIZER.decode([4], []), "unknown must have a token for each of 1 number, got 0"),
    ],
)
def test_bad_arguments_are_named(call, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the translations, looked for at ../shared/data")
def test_every_sentence_of_a_corpus_comes_back() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(SHARED / "translation/multi30k_raw/train.parquet").to_pydict()
    texts = [text for language in ("en", "de") for text in columns[language][:2000]]
    tokenizer = SubwordTokenizer.train(texts, vocab_size=1000)
    assert len(tokenizer) == 1000
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == [*map(PLAIN, texts)]
