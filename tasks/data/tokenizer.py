"""What a model asks of a tokenizer: text to numbers and back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tasks.data.vocabulary import PAD, SPECIAL, UNK

BOS, EOS = len(SPECIAL), len(SPECIAL) + 1
BOUNDARIES = ("<s>", "</s>")
"""Begin and end of a sequence, numbered after padding and the unknown word."""

__all__ = ["BOS", "BOUNDARIES", "EOS", "PAD", "UNK", "Tokenizer", "check_ids", "fingerprint", "strip_special"]


class Tokenizer(Protocol):
    """Cuts text into tokens that have numbers, and puts numbers together to text.

    Every tokenizer numbers ``<pad>``, ``<unk>``, ``<s>`` and ``</s>`` 0 to 3; a text never contains them.
    What :meth:`tokens` and :meth:`encode` return are of one length.
    """

    def __len__(self) -> int:
        """How many different tokens there are, the four special ones included."""

    @property
    def sha256(self) -> str:
        """Checksum of everything that decides what the methods return."""

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of ``text`` as they are shown, unknown ones too, without begin and end."""

    def encode(self, text: str) -> list[int]:
        """Return the numbers of the tokens of ``text``, ``UNK`` for unknown ones, without begin and end."""

    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        """Return the text of these numbers, without begin, end and padding.

        Args:
            ids: the numbers.
            unknown: for each number the token to write where it is ``UNK``; ``<unk>`` is written by default.
        """

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return the token of each number as it is shown, special ones too."""

    def words(self, text: str) -> list[int]:
        """Return for each token of ``text`` the position, among the words between spaces, that it is from."""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; ``kind`` says which tokenizer it is."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 over plain JSON values, whatever the order of the keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def check_ids(ids: Sequence[int], size: int) -> None:
    """Raise ValueError unless every number is that of one of ``size`` tokens."""
    if any(not 0 <= number < size for number in ids):
        raise ValueError(f"a token's number must lie in 0 ... {size - 1}, got {list(ids)}")


def strip_special(
    ids: Sequence[int], tokens: Sequence[str], unknown: Sequence[str] | None = None
) -> list[str]:
    """Return those of the tokens that are text, each ``UNK`` as ``unknown`` has it.

    Raises:
        ValueError: ``unknown`` is of another length.

    Example:
        >>> strip_special([BOS, UNK, 7, EOS, PAD], ["<s>", "<unk>", "dog", "</s>", "<pad>"], list("ABCDE"))
        ['B', 'dog']
    """
    given = tokens if unknown is None else unknown
    if len(given) != len(ids):
        raise ValueError(f"{len(ids)} numbers must have as many tokens for unknown ones, got {len(given)}")
    rows = zip(ids, tokens, given, strict=True)
    return [
        other if number == UNK else token for number, token, other in rows if number == UNK or number > EOS
    ]
