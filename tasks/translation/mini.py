"""A small parallel corpus of German, English and French, written by a grammar, with its word alignments.

One meaning is written in two languages::

    jetzt macht die frau , die gelacht hat , das alte fenster auf
    now the woman who has laughed opens the old window
    maintenant la femme qui a ri ouvre la vieille fenêtre

A German verb, its particle or participle stands at the end, French adjectives mostly follow their noun, and
both languages inflect for genders that differ between them: looking words up one by one is not enough. Yet
a sentence has exactly one translation, so that a model can reach all of them.
"""

from collections.abc import Sequence
from random import Random

from tasks.data.corpus import checksum
from tasks.data.portable_random import choice, write_splits
from tasks.seq2seq.data import FORM, Corpus, Example, Links
from tasks.translation import mini_grammar as grammar
from tasks.translation.mini_grammar import LANGUAGES, Clause, Meaning, NounPhrase, Words

SHORTEST, LONGEST = 5, 14


def generate(
    pair: str = "de-en", *, train: int = 6000, dev: int = 400, test: int = 400, seed: int = 0
) -> Corpus:
    """Write the corpus.

    The same arguments give the same words on every platform; dev and test do not depend on the size of
    train, and all pairs of languages say the same. No sentence occurs twice.

    Args:
        pair: source and target language, two different ones of ``de``, ``en`` and ``fr``, with a hyphen.
        train, dev, test: number of sentences, above 0.
        seed: any integer.

    Returns:
        The corpus ``mini-<pair>``; every example has links, and of several words with one translation the
        first one's link is the sure one. Text is in lower case, a comma stands between spaces.

    Raises:
        ValueError: another pair, a size below 1, or more sentences than the grammar has.

    Example:
        >>> generate("de-en", train=1, dev=1, test=1).splits["dev"][0].target
        'often the small cats greet the boys while the white cat can sleep'
    """
    source, target = _pair(pair)
    sizes = {"train": train, "dev": dev, "test": test}

    def draw(rng: Random) -> list[tuple[str, Example]]:
        meaning = _meaning(rng)
        texts = {language: write(meaning) for language, write in LANGUAGES.items()}
        fits = all(SHORTEST <= len(words) <= LONGEST for words in texts.values())
        return [(_text(texts["de"]), _example(texts[source], texts[target]))] if fits else []

    splits = write_splits(sizes, seed, draw)
    return Corpus(f"mini-{pair}", checksum(splits, FORM), splits, {}, (source, target), synthetic=True)


def align(source: Words, target: Words) -> Links:
    """Link words of one unit of meaning: surely the first ones, possibly all."""
    possible = {
        (i, j)
        for i, (_, unit) in enumerate(source)
        for j, (_, other) in enumerate(target)
        if unit is not None and unit == other
    }
    first = [
        {unit: place for place, (_, unit) in reversed(list(enumerate(words)))} for words in (source, target)
    ]
    sure = {(i, j) for i, j in possible if first[0][source[i][1]] == i and first[1][target[j][1]] == j}
    return Links(frozenset(sure), frozenset(possible))


def _pair(pair: str) -> tuple[str, str]:
    source, _, target = pair.partition("-")
    if source == target or not {source, target} <= LANGUAGES.keys():
        raise ValueError(f"pair must name two different languages of de, en, fr, got {pair!r}")
    return source, target


def _example(words: Words, others: Words) -> Example:
    return Example(_text(words), (_text(others),), align(words, others))


def _text(words: Words) -> str:
    return " ".join(word for word, _ in words)


def _meaning(rng: Random) -> Meaning:
    kind = choice(rng, ("plain", "plain", "relative", "conjunction", "speech"))
    adverb = choice(rng, ("", *grammar.ADVERBS))
    if kind == "speech":
        subject, mode = _phrase(rng, grammar.PEOPLE), choice(rng, grammar.MODES[:2])
        main = Clause(subject, choice(rng, grammar.SPEECH), mode, adverb=adverb)
        return Meaning(main, conjunction="that", second=_clause(rng, _after_conjunction(rng)))
    if kind == "relative":
        subject = _phrase(rng, grammar.PEOPLE)
        return Meaning(_clause(rng, subject)._replace(adverb=adverb), _clause(rng, subject))
    main = _clause(rng, _phrase(rng, grammar.AGENTS))._replace(adverb=adverb)
    if kind == "plain":
        return Meaning(main)
    second = _clause(rng, _after_conjunction(rng))
    return Meaning(main, conjunction=choice(rng, grammar.CONJUNCTIONS), second=second)


def _after_conjunction(rng: Random) -> NounPhrase:
    """Not ``un`` or ``une``, before which French would write ``qu'``."""
    determiners = tuple(word for word in grammar.DETERMINERS if word != "a")
    return _phrase(rng, grammar.AGENTS, determiners)


def _clause(rng: Random, subject: NounPhrase) -> Clause:
    verb, mode = choice(rng, tuple(grammar.OBJECTS)), choice(rng, grammar.MODES)
    objects = tuple(noun for noun in grammar.OBJECTS[verb] if noun != subject.noun)
    thing = _phrase(rng, objects) if objects else None
    place = _place(rng) if rng.random() < 0.4 else None
    return Clause(subject, verb, mode, thing, place)


def _place(rng: Random) -> tuple[str, NounPhrase]:
    preposition = choice(rng, (*grammar.PREPOSITIONS, "with"))
    nouns = grammar.PEOPLE if preposition == "with" else grammar.PLACES
    return preposition, _phrase(rng, nouns)._replace(plural=False)


def _phrase(
    rng: Random, nouns: Sequence[str], determiners: Sequence[str] = grammar.DETERMINERS
) -> NounPhrase:
    noun, determiner = choice(rng, nouns), choice(rng, determiners)
    plural = noun in grammar.AGENTS and determiner != "a" and rng.random() < 0.3
    adjective = choice(rng, grammar.ADJECTIVES_OF[noun]) if rng.random() < 0.6 else ""
    return NounPhrase(noun, determiner, plural, adjective)
