"""A small entailment corpus, written by a grammar, on which attention has something to do.

A premise tells of three agents, one clause each; the hypothesis speaks of one of them::

    on friday the old nurse strolls in the garden while the merry dog sits and the tall pilot hums
    the nurse is moving                  entailment: "strolls" is a way of moving
    the nurse is resting                 contradiction: "strolls" excludes it
    the nurse is happy                   neutral: her clause is silent on it

Pairs come in triples that share the hypothesis, one pair for each label, so the hypothesis alone tells
nothing. The words of a premise tell little: other agents are given the deciding word, or its opposite.
What decides is which words stand in one clause with the agent, and that clause is the pair's evidence.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tasks.data.corpus import checksum
from tasks.data.portable_random import choice, shuffled, write_splits
from tasks.entailment.data import FORM, LABELS, Corpus, Pair

Words = tuple[str, ...]

ENTAILMENT, NEUTRAL, CONTRADICTION = range(len(LABELS))
SHORTEST, LONGEST = 12, 25

AGENTS = ("man", "woman", "dog", "horse", "nurse", "farmer", "singer", "pilot")
# Topic: for each of its two sides, what premises call it and what hypotheses call it.
TOPICS = {
    "mood": ((("joyful", "merry"), ("happy", "glad")), (("gloomy", "tearful"), ("sad", "unhappy"))),
    "posture": ((("sits", "lounges"), ("resting", "idle")), (("jogs", "strolls"), ("moving", "active"))),
    "place": (
        (("kitchen", "library"), ("indoors", "inside")),
        (("garden", "forest"), ("outdoors", "outside")),
    ),
}
OTHER_ADJECTIVES = ("old", "young", "tall", "short", "blond")
OTHER_VERBS = ("sings", "hums", "eats", "drinks", "yawns")
OTHER_PLACES = (("alone",), ("again",), ("after", "lunch"))
OPENINGS: tuple[Words, ...] = ((), ("today",), ("later",), ("on", "friday"))
CONNECTIVES = ("and", "while", "as", "but")

# Equal shares would make the label an exclusive-or of words in the two sentences, which gives a network no
# first step: hypotheses take one side of a topic more often, and speak more often of the first agents.
USUAL_SIDE = 0.85
AGENT_SKEW = 2  # power of a uniform number: the first of eight agents has a third of the hypotheses
DENIED = 0.1
# Where the deciding word and its opposite both occur, the bag of words says nothing; a third of such triples
# holds every bag-of-words rule below 0.57, and the rest teach the meaning of the words.
BOTH_SIDES = 0.3


class Clause(NamedTuple):
    """What is said of an agent: the words before and after its name."""

    before: Words
    after: Words


def generate(*, train: int = 9000, dev: int = 900, test: int = 900, seed: int = 1) -> Corpus:
    """Write the corpus.

    The same arguments give the same words on every platform; dev and test do not depend on the size of
    train. No premise occurs twice.

    Args:
        train, dev, test: number of pairs, a multiple of 3 each, above 0; a third carries each label.
        seed: any integer.

    Returns:
        The corpus ``mini``; every pair has its evidence, the clause about the hypothesis's agent.

    Raises:
        ValueError: a size that is not a positive multiple of 3, or more pairs than the grammar has.
    """
    sizes = {"train": train, "dev": dev, "test": test}
    splits = write_splits(sizes, seed, _draw, together=len(LABELS))
    return Corpus("mini", checksum(splits, FORM), splits, {}, synthetic=True)


def _draw(rng: Random) -> list[tuple[Words, Pair]]:
    """A triple of the right lengths, or none: of single pairs, the length would tell the label."""
    triple = _triple(rng)
    fits = all(SHORTEST <= len(pair.premise) <= LONGEST for pair in triple)
    return [(pair.premise, pair) for pair in triple] if fits else []


def _triple(rng: Random) -> list[Pair]:
    """One hypothesis, and a premise for each label."""
    about = AGENTS[int(rng.random() ** AGENT_SKEW * len(AGENTS))]
    agents = [about, *shuffled(rng, [agent for agent in AGENTS if agent != about])[:2]]
    topic = choice(rng, list(TOPICS))
    side = int(rng.random() >= USUAL_SIDE)
    hypothesis = ("the", agents[0], "is", *_claim(rng, topic, side))
    opening, connectives = choice(rng, OPENINGS), [choice(rng, CONNECTIVES) for _ in agents[1:]]
    pairs = []
    for label, clauses in enumerate(_clauses(rng, topic, side)):
        premise, evidence = _premise(rng, opening, connectives, agents, clauses)
        pairs.append(Pair(premise, hypothesis, label, evidence))
    return pairs


def _claim(rng: Random, topic: str, side: int) -> Words:
    """Words of a hypothesis for one side of a topic, now and then as a denial of the other."""
    if rng.random() < DENIED:
        return ("not", choice(rng, TOPICS[topic][1 - side][1]))
    return (choice(rng, TOPICS[topic][side][1]),)


def _clauses(rng: Random, topic: str, side: int) -> list[list[Clause]]:
    """For each label three clauses, the first one for the hypothesis's agent."""
    same, opposite = (_clause(rng, topic, value) for value in (side, 1 - side))
    silent = [_clause(rng, topic, None) for _ in AGENTS[:3]]
    if rng.random() < BOTH_SIDES:
        others = ((opposite, silent[0]), (same, opposite), (same, silent[0]))
    else:
        others = ((silent[1], silent[2]), (silent[1], choice(rng, (same, opposite))), (silent[1], silent[2]))
    return [
        [own, *shuffled(rng, rest)] for own, rest in zip((same, silent[0], opposite), others, strict=True)
    ]


def _clause(rng: Random, topic: str, side: int | None) -> Clause:
    """Take a side on the topic, or none, and sometimes a side on another topic."""
    said = {topic: side}
    if rng.random() < 0.5:
        said[choice(rng, [other for other in TOPICS if other != topic])] = choice(rng, (0, 1))
    word = {key: choice(rng, TOPICS[key][value][0]) for key, value in said.items() if value is not None}
    adjective = word.get("mood") or choice(rng, ("", *OTHER_ADJECTIVES))
    verb = word.get("posture") or choice(rng, OTHER_VERBS)
    place = ("in", "the", word["place"]) if "place" in word else choice(rng, ((), (), *OTHER_PLACES))
    return Clause(("the", adjective) if adjective else ("the",), (verb, *place))


def _premise(
    rng: Random, opening: Words, connectives: Sequence[str], agents: Sequence[str], clauses: Sequence[Clause]
) -> tuple[Words, tuple[int, int]]:
    """Join the clauses in any order.

    Returns:
        The words, and the half-open span of the first agent's clause.
    """
    words = list(opening)
    span = (0, 0)
    for place, number in enumerate(shuffled(rng, range(len(agents)))):
        words += connectives[place - 1 : place]  # none before the first clause
        start = len(words)
        words += [*clauses[number].before, agents[number], *clauses[number].after]
        if number == 0:
            span = (start, len(words))
    return tuple(words), span
