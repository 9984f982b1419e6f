"""Cut English text into words, the same for raw text and for text already cut at spaces."""

import re
import unicodedata

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
