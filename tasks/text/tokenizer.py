"""What a model asks of a tokenizer: text to numbers and back."""

from collections.abc import Sequence
from typing import Any, Protocol

from tasks.text.vocabulary import PAD, SPECIAL, UNK

BOS, EOS = len(SPECIAL), len(SPECIAL) + 1
BOUNDARIES = ("<s>", "</s>")
"""Begin and end of a sequence, numbered after padding and the unknown word."""

__all__ = ["BOS", "BOUNDARIES", "EOS", "PAD", "UNK", "Tokenizer"]


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
