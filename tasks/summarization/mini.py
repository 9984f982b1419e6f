"""A small corpus of news sentences with their headlines, written by a grammar, with the words they come from.

The headline keeps who does what to what, in short::

    russian defense minister orlov , on a visit to lima , called sunday for the creation of a joint military
    force for combating smugglers , officials said .
    russian defense minister calls for joint force against smugglers

What the headline drops is made of the same words as what it keeps, so that a word's place decides. A
sentence has exactly one headline, and a headline's words come from a few segments of the sentence.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tasks.data.corpus import checksum
from tasks.data.portable_random import choice, write_splits
from tasks.seq2seq.data import FORM, Corpus, Example, Links

SHORTEST, LONGEST = 15, 30
SHORTEST_HEADLINE, LONGEST_HEADLINE = 5, 8

NATIONS = ("russian", "french", "british", "german", "japanese", "chinese", "turkish", "brazilian")
CITIES = ("lima", "geneva", "cairo", "oslo", "madrid", "seoul")
DAYS = ("monday", "tuesday", "thursday", "friday", "sunday")
NAMES = ("orlov", "martin", "tanaka", "weber", "silva", "demir", "wilson", "chen")
PEOPLE = ("defense minister", "prime minister", "trade envoy", "army chief", "opposition leader")
BODIES = ("car maker", "oil company", "parliament", "trade union", "airline", "navy")

# What the sentence says and what the headline makes of it. A word of a headline is the same word of the
# sentence, or stands before the word it is made of: calls<called.
ACTIONS = {
    "called for the creation of": "calls<called for",
    "expressed strong support for": "backs<support",
    "rejected a proposal for": "rejects<rejected",
    "signed an agreement on": "signs<signed",
    "warned of the dangers of": "warns<warned of",
    "agreed in principle to pay for": "to fund<pay",
    "opened a new round of talks on": "opens<opened talks on",
    "delayed a decision on": "delays<delayed",
    "made an offer to": "offers<offer to",
}
THINGS = {
    "a joint military force": "joint force",
    "new underground nuclear tests": "nuclear tests",
    "a wide zone of free trade": "free trade zone",
    "direct talks on peace": "peace talks",
    "a complete ban on arms exports": "arms ban",
    "a reform of the pension system": "pension reform",
    "the sale of fighter planes": "plane<planes sale",
    "tighter control of the border": "border control",
}
DEEDS = {
    "send food and medicine": "send aid<food",
    "release all political prisoners": "free<release prisoners",
    "reduce the number of troops": "cut<reduce troops",
    "build several new power plants": "build power plants",
}
PURPOSES = {
    "for combating smugglers": "against<combating smugglers",
    "in close cooperation with {nation} experts": "with {nation} experts",
    "in the northern part of the country": "in north<northern",
    "in spite of international protests": "despite<spite protests",
}
# What the headline drops. Its words are kept elsewhere.
OPENINGS = (
    "in a statement released {day} ,",
    "after weeks of protests in {city} ,",
    "hours before meeting the {nation} {person} ,",
    "despite a warning from the {nation} {body} ,",
)
APPOSITIONS = (
    ", on a visit to {city} ,",
    ", a former {nation} {person} ,",
    ", who called for talks with the {nation} {body} ,",
    ", speaking to {nation} experts in {city} ,",
)
ENDINGS = (
    ", officials said",
    ", the {nation} {body} said {day}",
    "as troops arrived in {city}",
    "ahead of peace talks in {city}",
)


class Phrase(NamedTuple):
    """Words of a sentence, and what of them stands in the headline: words, each with the place it is from."""

    words: tuple[str, ...]
    headline: tuple[tuple[str, int], ...] = ()


def generate(*, train: int = 6000, dev: int = 400, test: int = 400, seed: int = 0) -> Corpus:
    """Write the corpus.

    The same arguments give the same words on every platform; dev and test do not depend on the size of
    train. No sentence occurs twice.

    Args:
        train, dev, test: number of sentences, above 0.
        seed: any integer.

    Returns:
        The corpus ``mini``; every example has links: sure ones from the word that a headline's word is made
        of, possible ones from all words of its phrase. Punctuation stands between spaces.

    Raises:
        ValueError: a size below 1, or more sentences than the grammar has.

    Example:
        >>> generate(train=1, dev=1, test=1).splits["dev"][0].target
        'french navy warns of joint force in north'
    """
    sizes = {"train": train, "dev": dev, "test": test}
    splits = write_splits(sizes, seed, _draw)
    return Corpus("mini", checksum(splits, FORM), splits, {}, synthetic=True)


def _draw(rng: Random) -> list[tuple[str, Example]]:
    """An example of the right lengths, or none."""
    example = _example(_phrases(rng))
    fits = SHORTEST <= len(example.source.split(" ")) <= LONGEST
    fits &= SHORTEST_HEADLINE <= len(example.target.split(" ")) <= LONGEST_HEADLINE
    return [(example.source, example)] if fits else []


def _example(phrases: Sequence[Phrase]) -> Example:
    """Join the phrases, and their headlines in the same order."""
    words: list[str] = []
    headline: list[str] = []
    sure, possible = set(), set()
    for phrase in phrases:
        for word, place in phrase.headline:
            sure.add((len(words) + place, len(headline)))
            possible |= {(len(words) + i, len(headline)) for i in range(len(phrase.words))}
            headline.append(word)
        words += phrase.words
    return Example(" ".join(words), (" ".join(headline),), Links(frozenset(sure), frozenset(possible)))


def _phrases(rng: Random) -> list[Phrase]:
    """What a sentence consists of, from left to right."""
    opening = [_dropped(rng, OPENINGS)] if rng.random() < 0.5 else []
    apposition = [_dropped(rng, APPOSITIONS)] if rng.random() < 0.6 else []
    ending = [_dropped(rng, ENDINGS)] if rng.random() < 0.6 else []
    purpose = [_kept(rng, PURPOSES)] if rng.random() < 0.6 else []
    full_stop = Phrase((".",))
    return [*opening, *_subject(rng), *apposition, *_action(rng), *purpose, *ending, full_stop]


def _subject(rng: Random) -> list[Phrase]:
    """A person, whose name the headline drops, or a body, whose article it drops."""
    if rng.random() < 0.6:
        subject = _phrase(rng, "{nation} {person}", "{nation} {person}")
        return [subject, Phrase((choice(rng, NAMES),))]
    return [Phrase(("the",)), _phrase(rng, "{nation} {body}", "{nation} {body}")]


def _action(rng: Random) -> list[Phrase]:
    """What is done, now and then on which day, and to what."""
    said = choice(rng, tuple(ACTIONS))
    action = _phrase(rng, said, ACTIONS[said])
    thing = _kept(rng, DEEDS if said.endswith(" to") else THINGS)
    return [_with_day(action, choice(rng, DAYS)) if rng.random() < 0.5 else action, thing]


def _with_day(phrase: Phrase, day: str) -> Phrase:
    """Put a day after the first word: called sunday for the creation of."""
    first, *rest = phrase.words
    return Phrase((first, day, *rest), tuple((word, at + (at > 0)) for word, at in phrase.headline))


def _kept(rng: Random, phrases: dict[str, str]) -> Phrase:
    words = choice(rng, tuple(phrases))
    return _phrase(rng, words, phrases[words])


def _dropped(rng: Random, phrases: Sequence[str]) -> Phrase:
    return _phrase(rng, choice(rng, phrases), "")


def _phrase(rng: Random, words: str, headline: str) -> Phrase:
    """Fill in the names, the same in both, and find the words of the headline."""
    lists = {"nation": NATIONS, "city": CITIES, "day": DAYS, "person": PEOPLE, "body": BODIES}
    names = {kind: choice(rng, options) for kind, options in lists.items()}
    said = tuple(words.format(**names).split())
    kept = (word.partition("<") for word in headline.format(**names).split())
    return Phrase(said, tuple((word, said.index(origin or word)) for word, _, origin in kept))
