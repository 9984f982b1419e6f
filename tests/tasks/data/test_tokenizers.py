"""A stored tokenizer comes back whole, or not at all."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.normalize import Normalizer
from tasks.data.tokenizers import SubwordTokenizer, Tokenizer, WordTokenizer, fingerprint, tokenizer_from_json

TEXTS = ["Der Hund (braun) läuft.", "Ein Hund und z.B. 3 Katzen laufen </s>"]
FOLD = Normalizer(lowercase=True, digits=True)
WORDS = WordTokenizer.train(TEXTS, normalizer=FOLD, moses="de")
TOKENIZERS: list[Tokenizer] = [
    WORDS,
    WordTokenizer.train(TEXTS, max_size=3),
    SubwordTokenizer.train(TEXTS, vocab_size=50, normalizer=FOLD),
    SubwordTokenizer.train(TEXTS),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_storage_keeps_everything(tokenizer: Tokenizer) -> None:
    twin = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert type(twin) is type(tokenizer) and twin.sha256 == tokenizer.sha256 and len(twin) == len(tokenizer)
    for text in (*TEXTS, "Die KATZE <s> läuft 2017.", ""):
        ids = tokenizer.encode(text)
        assert twin.encode(text) == ids and twin.decode(ids) == tokenizer.decode(ids)
        assert twin.tokens(text) == tokenizer.tokens(text) and twin.words(text) == tokenizer.words(text)


@given(data=st.data(), tokenizer=st.sampled_from(TOKENIZERS))
def test_a_changed_character_is_noticed(data: st.DataObject, tokenizer: Tokenizer) -> None:
    stored = json.dumps(tokenizer.to_json())
    at = data.draw(st.integers(0, len(stored) - 1))
    character = data.draw(st.sampled_from('0aB{}[]",: \\').filter(lambda c: c != stored[at]))
    damaged = stored[:at] + character + stored[at + 1 :]
    with pytest.raises(ValueError):  # json's own is one
        if json.loads(damaged) == tokenizer.to_json():
            raise ValueError("white space, or the same character written otherwise")
        tokenizer_from_json(json.loads(damaged))


def forged(**changes: object) -> dict[str, object]:
    content = {**WORDS.to_json(), **changes}
    rest = {key: value for key, value in content.items() if key != "sha256" and value is not None}
    return {**rest, "sha256": fingerprint(rest)}


def forged_model(model: str) -> dict[str, object]:
    return forged(kind="subwords", model=model, words=None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "one of the kinds words, subwords, got None"),
        ([], "one of the kinds words, subwords, got None"),
        ({"kind": "bytes"}, "got 'bytes'"),
        ({"kind": ["words"]}, "got \\['words'\\]"),
        ({"kind": "words"}, "content of checksum None, got "),
        ({**WORDS.to_json(), "moses": "en"}, "content of checksum [0-9a-f]{64}, got [0-9a-f]{64}"),
        (forged(words=None), "tokenizer of words must have all its fields, got a damaged one: 'words'"),
        (forged(words=["a", "b"]), "damaged one: a stored vocabulary begins with"),
        (forged(words=["<pad>", "<unk>", "a", "a"]), "damaged one: .* different words"),
        (forged(words=7), "damaged one"),
        (forged(moses="xx"), "damaged one: moses must be"),
        (forged(normalizer={"case": True}), "damaged one: .*unexpected keyword argument 'case'"),
        (forged_model("?"), "tokenizer of subwords must have all its fields, got a damaged one"),
        (
            forged_model(base64.b64encode(b"no model").decode()),
            "damaged one: .*must be given a sentencepiece model",
        ),
    ],
)
def test_damaged_content_is_refused(content, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tokenizer_from_json(content)
    assert "\n" not in str(caught.value)
