"""What is done to a text before it is cut, and English cut into words: the same raw and cut at spaces."""

import re
import unicodedata
from dataclasses import dataclass

# Quotes and brackets as the Penn Treebank writes them, and as printers do.
_CHARACTERS = str.maketrans(
    {"\ufeff": None, "`": "'", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "..."}
)
_CANONICAL = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}

# Cutting too much is harmless when two tokenisations must agree, cutting too little is not: the treebank
# has put a space wherever it cuts, so each of its cuts (can not, do n't, gon na) must be made here as well.
_WORD = r"[\w\u0300-\u036f]"
_CLITIC = r"(?:s|m|d|ll|re|ve)\b"
_END = r"(?:\b|n't\b)"
_TOKEN = re.compile(
    rf"""
    (?P<bracket> -[lr][rsc]b- )
  | (?P<quote> ''|"+ )
  | (?:mr|mrs|ms|dr|jr|sr|st|vs)\.          # Mr.
  | (?:[^\W\d_]\.){{2,}}                    # U.S.  p.m.
  | can(?=not{_END}) | (?:gon|wan)(?=na{_END}) | got(?=ta{_END})
  | {_WORD}+?(?=n't\b) | n't\b             # do n't
  | '{_CLITIC}                              # dog 's
  | {_WORD}+ (?: (?: -                      # T-shirt
                   | '(?!{_CLITIC})         # o'clock
                   | (?<=\d)[.,:/](?=\d)    # 3.5  1,000  10:30
                 ) {_WORD}+ )*
  | \.{{2,}} | -{{2,}} | [^\s]
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokenize(text: str, *, lowercase: bool = True) -> list[str]:
    r"""Cut a sentence into words and punctuation marks.

    The text is brought to Unicode's composed form (NFC), byte-order marks are dropped, every double quote
    becomes ``"`` and every single one ``'``. Any white space separates words, whatever its kind.

    Args:
        text: a sentence, raw (``"don't"``) or cut as in the Penn Treebank (``"do n't"``).
        lowercase: fold letters to lower case.

    Returns:
        The words in order; empty for an empty text. Joined by spaces and cut again, they stay as they are.

    Example:
        >>> tokenize("The dog's T-shirt doesn't cost $3.50.")
        ['the', 'dog', "'s", 't-shirt', 'does', "n't", 'cost', '$', '3.50', '.']
    """
    text = text.translate(_CHARACTERS)
    # Folding first: a few capitals (the Kelvin sign) are composed into other capitals.
    text = unicodedata.normalize("NFC", text.lower() if lowercase else text)
    return [_canonical(match) for match in _TOKEN.finditer(text)]


def _canonical(match: re.Match[str]) -> str:
    if match.lastgroup is None:
        return match.group()
    return '"' if match.lastgroup == "quote" else _CANONICAL[match.group().casefold()]


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
        treebank: cut English as the Penn Treebank does (:func:`tokenize`); words between
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
