"""Stored tokenizers, whichever kind."""

from collections.abc import Mapping
from typing import Any

from tasks.data.subwords import SubwordTokenizer
from tasks.data.tokenizer import Tokenizer, fingerprint
from tasks.data.words import WordTokenizer

_KINDS: dict[object, type[WordTokenizer] | type[SubwordTokenizer]] = {
    kind.kind: kind for kind in (WordTokenizer, SubwordTokenizer)
}


def tokenizer_from_json(content: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from its ``to_json``.

    Raises:
        ValueError: another kind of tokenizer, or content that is not what was stored.

    Example:
        >>> stored = WordTokenizer.train(["a dog"]).to_json()
        >>> tokenizer_from_json(stored).encode("a red dog")
        [4, 1, 5]
    """
    rest = dict(content) if isinstance(content, Mapping) else {}
    kind, stored = rest.get("kind"), rest.pop("sha256", None)
    if kind not in [*_KINDS]:
        raise ValueError(
            f"a stored tokenizer must have one of the kinds {', '.join(map(str, _KINDS))}, got {kind!r}"
        )
    if (found := fingerprint(rest)) != stored:
        raise ValueError(f"a stored tokenizer must have content of checksum {stored}, got {found}")
    try:
        return _KINDS[kind].from_json(rest)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"a stored tokenizer of {kind} must have all its fields, got a damaged one: {error}"
        ) from None
