"""What a tokenizer does to a text before it cuts it."""

import re
import unicodedata
from dataclasses import dataclass

from tasks.data.tokens import tokenize

_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of a character, which JSON can hold and UTF-8 cannot
_DIGIT = re.compile(r"\d")  # of any script


@dataclass(frozen=True)
class Normalizer:
    """Writes what reads the same in the same way.

    The text is brought to Unicode's composed form (NFC), any run of white space becomes one space, there is
    none at either end, and half a surrogate pair becomes U+FFFD. Applied twice it does what it does once.

    Attributes:
        lowercase: fold letters to lower case.
        digits: write every decimal digit as ``#``, as the Gigaword summarization corpus does.
        treebank: cut English as the Penn Treebank does (:func:`~tasks.data.tokens.tokenize`); words between
            spaces are then those of the cut text, not of the text given.

    Example:
        >>> Normalizer(lowercase=True, digits=True)("  In 2017\\u2028the Dogs ran ")
        'in #### the dogs ran'
    """

    lowercase: bool = False
    digits: bool = False
    treebank: bool = False

    def __call__(self, text: str) -> str:
        # Folding first: a few capitals (the Kelvin sign) are composed into other capitals.
        text = unicodedata.normalize("NFC", text.lower() if self.lowercase else text)
        text = _DIGIT.sub("#", text) if self.digits else text
        text = _SURROGATE.sub("\ufffd", text)
        if not self.treebank:
            return " ".join(text.split())
        # Signs for digits are cut as digits are, whether they stood in the text or not: 3.5, #.#
        words = tokenize(text.replace("#", "0") if self.digits else text, lowercase=self.lowercase)
        return " ".join(words).replace("0", "#") if self.digits else " ".join(words)


PLAIN = Normalizer()
