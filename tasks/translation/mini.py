"""A small parallel corpus of German, English and French, written by a grammar, with its word alignments.

One meaning is written in two languages::

    jetzt macht die frau , die gelacht hat , das alte fenster auf
    now the woman who has laughed opens the old window
    maintenant la femme qui a ri ouvre la vieille fenêtre

A German verb, its particle or participle stands at the end, French adjectives mostly follow their noun, and
both languages inflect for genders that differ between them: looking words up one by one is not enough. Yet
a sentence has exactly one translation, so that a model can reach all of them.

A meaning is a tree of lemmas; a language writes it as words, each with the unit of meaning it is from
(``None`` for a comma). Words of two languages with one unit are translations of each other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from tasks.data.corpus import checksum
from tasks.data.portable_random import choice, write_splits
from tasks.seq2seq.data import FORM, Corpus, Example, Links

Words = list[tuple[str, str | None]]

# English singular and plural | German gender, nominative, other cases, plural | French gender, both numbers.
# German's and French's genders differ where they can; French nouns start with a consonant: no elision.
_NOUNS = """
teacher teachers | m lehrer lehrer lehrer | m professeur professeurs
woman women | f frau frau frauen | f femme femmes
girl girls | n mädchen mädchen mädchen | f fille filles
boy boys | m junge jungen jungen | m garçon garçons
king kings | m könig könig könige | m roi rois
dog dogs | m hund hund hunde | m chien chiens
cat cats | f katze katze katzen | m chat chats
horse horses | n pferd pferd pferde | m cheval chevaux
cow cows | f kuh kuh kühe | f vache vaches
book - | n buch buch - | m livre -
letter - | m brief brief - | f lettre -
key - | m schlüssel schlüssel - | f clé -
hat - | m hut hut - | m chapeau -
flower - | f blume blume - | f fleur -
car - | n auto auto - | f voiture -
door - | f tür tür - | f porte -
window - | n fenster fenster - | f fenêtre -
garden - | m garten garten - | m jardin -
house - | n haus haus - | f maison -
forest - | m wald wald - | f forêt -
bridge - | f brücke brücke - | m pont -
"""
PEOPLE = ("teacher", "woman", "girl", "boy", "king")
AGENTS = (*PEOPLE, "dog", "cat", "horse", "cow")
THINGS = ("book", "letter", "key", "hat", "flower", "car")
OPENINGS = ("door", "window", "book", "letter")
PLACES = ("garden", "house", "forest", "bridge")

# English | German stem | French masculine and feminine, singular and plural, and its place at the noun.
_ADJECTIVES = """
small | klein | petit petite petits petites before
big | groß | grand grande grands grandes before
old | alt | vieux vieille vieux vieilles before
beautiful | schön | beau belle beaux belles before
black | schwarz | noir noire noirs noires after
white | weiß | blanc blanche blancs blanches after
green | grün | vert verte verts vertes after
tired | müd | fatigué fatiguée fatigués fatiguées after
"""

# Third person singular and plural, and participle | the same in German, where the plural is the infinitive,
# auxiliary and particle | the same in French, infinitive and auxiliary. An underscore joins two words.
_VERBS = """
see | sees see seen | sieht sehen gesehen haben - | voit voient vu voir avoir
seek | looks_for look_for looked_for | sucht suchen gesucht haben - | cherche cherchent cherché chercher avoir
buy | buys buy bought | kauft kaufen gekauft haben - | achète achètent acheté acheter avoir
bring | brings bring brought | bringt bringen mitgebracht haben mit | apporte apportent apporté apporter avoir
open | opens open opened | macht machen aufgemacht haben auf | ouvre ouvrent ouvert ouvrir avoir
close | closes close closed | macht machen zugemacht haben zu | ferme ferment fermé fermer avoir
call | calls call called | ruft rufen angerufen haben an | appelle appellent appelé appeler avoir
greet | greets greet greeted | grüßt grüßen gegrüßt haben - | salue saluent salué saluer avoir
sleep | sleeps sleep slept | schläft schlafen geschlafen haben - | dort dorment dormi dormir avoir
laugh | laughs laugh laughed | lacht lachen gelacht haben - | rit rient ri rire avoir
arrive | arrives arrive arrived | kommt kommen angekommen sein an | arrive arrivent arrivé arriver être
leave | leaves leave left | geht gehen weggegangen sein weg | part partent parti partir être
say | says say said | sagt sagen gesagt haben - | dit disent dit dire avoir
know | knows know known | weiß wissen gewusst haben - | sait savent su savoir avoir
"""
OBJECTS = {
    "see": (*AGENTS, *THINGS),
    "seek": (*AGENTS, *THINGS),
    "buy": THINGS,
    "bring": THINGS,
    "open": OPENINGS,
    "close": OPENINGS,
    "call": PEOPLE,
    "greet": PEOPLE,
    "sleep": (),
    "laugh": (),
    "arrive": (),
    "leave": (),
}
SPEECH = ("say", "know")
MODES = ("present", "perfect", "can", "must")

_SMALL_WORDS = {
    "en": {"in": "in", "behind": "behind", "before": "in front of", "with": "with", "now": "now"}
    | {"often": "often", "then": "then", "because": "because", "while": "while", "that": "that"},
    "de": {"in": "in", "behind": "hinter", "before": "vor", "with": "mit", "now": "jetzt", "often": "oft"}
    | {"then": "dann", "because": "weil", "while": "während", "that": "dass"},
    "fr": {"in": "dans", "behind": "derrière", "before": "devant", "with": "avec", "now": "maintenant"}
    | {"often": "souvent", "then": "puis", "because": "parce que", "while": "pendant que", "that": "que"},
}
ADVERBS = ("now", "often", "then")
CONJUNCTIONS = ("because", "while")
PREPOSITIONS = ("in", "behind", "before")

# Determiners before singular nouns and, last, before plural ones.
_ENGLISH = {"the": "the the", "a": "a -", "this": "this these", "my": "my my"}
_FRENCH = {"the": "le la les", "a": "un une -", "this": "ce cette ces", "my": "mon ma mes"}
# For each gender and then the plural: nominative, accusative, dative.
_GERMAN = {
    "the": "der den dem | die die der | das das dem | die die -",
    "a": "ein einen einem | eine eine einer | ein ein einem | - - -",
    "this": "dieser diesen diesem | diese diese dieser | dieses dieses diesem | diese diese -",
    "my": "mein meinen meinem | meine meine meiner | mein mein meinem | meine meine -",
}
DETERMINERS = tuple(_ENGLISH)
_ENDINGS = {"the": "e en en | e e en | e e en | en en -", "a": "er en en | e e en | es es en | en en -"}
NOMINATIVE, ACCUSATIVE, DATIVE = range(3)


def _table(text: str) -> list[list[list[str]]]:
    return [[cell.split() for cell in line.split("|")] for line in text.strip().splitlines()]


NOUNS = {row[0][0]: dict(zip(("en", "de", "fr"), row, strict=True)) for row in _table(_NOUNS)}
ADJECTIVES = {row[0][0]: dict(zip(("en", "de", "fr"), row, strict=True)) for row in _table(_ADJECTIVES)}
_GERMAN_DETERMINERS = {key: _table(text)[0] for key, text in _GERMAN.items()}
_GERMAN_ENDINGS = {key: _table(text)[0] for key, text in _ENDINGS.items()}
VERBS = {row[0][0]: dict(zip(("en", "de", "fr"), row[1:], strict=True)) for row in _table(_VERBS)}


def _adjectives_of(noun: str) -> tuple[str, ...]:
    """The adjectives that go with a noun: things are not tired, and nobody is green."""
    colours = ("black", "white", "green")
    wrong = colours if noun in PEOPLE else colours[2:] if noun in AGENTS else ("tired",)
    return tuple(adjective for adjective in ADJECTIVES if adjective not in wrong)


ADJECTIVES_OF = {noun: _adjectives_of(noun) for noun in NOUNS}


class NounPhrase(NamedTuple):
    """A noun with its determiner, its number and perhaps an adjective, all in English."""

    noun: str
    determiner: str
    plural: bool = False
    adjective: str = ""


class Clause(NamedTuple):
    """Who does what, where or with whom; ``mode`` is one of ``MODES``, ``adverb`` opens the clause."""

    subject: NounPhrase
    verb: str
    mode: str
    thing: NounPhrase | None = None
    place: tuple[str, NounPhrase] | None = None
    adverb: str = ""


class Meaning(NamedTuple):
    """A clause; perhaps one on its subject, who does that as well; perhaps one after a conjunction."""

    main: Clause
    relative: Clause | None = None
    conjunction: str = ""
    second: Clause | None = None


WritePhrase = Callable[[NounPhrase, str, int], Words]
WriteVerb = Callable[[Clause, str], Words]


def _subject_first(language: str, who: str, phrase: WritePhrase, verb: WriteVerb, meaning: Meaning) -> Words:
    """A meaning in a language that has subject, verb, object and place in this order everywhere."""

    def predicate(clause: Clause, at: str) -> Words:
        return [*verb(clause, at), *_objects(language, clause, at, phrase)]

    def clause(clause: Clause, at: str, relative: Words) -> Words:
        subject = phrase(clause.subject, f"{at} subject", NOMINATIVE)
        adverb = _small(language, clause.adverb, f"{at} adverb")
        return [*adverb, *subject, *relative, *predicate(clause, at)]

    relative = [(who, "relative"), *predicate(meaning.relative, "3")] if meaning.relative else []
    words = clause(meaning.main, "1", relative)
    if meaning.second:
        words += _small(language, meaning.conjunction, "conjunction") + clause(meaning.second, "2", [])
    return words


def _objects(language: str, clause: Clause, at: str, phrase: WritePhrase) -> Words:
    words = phrase(clause.thing, f"{at} object", ACCUSATIVE) if clause.thing else []
    if clause.place:
        words += _small(language, clause.place[0], f"{at} preposition")
        words += phrase(clause.place[1], f"{at} place", DATIVE)
    return words


def _english_verb(clause: Clause, at: str) -> Words:
    plural = clause.subject.plural
    singular, base, participle = VERBS[clause.verb]["en"]
    auxiliary = {"present": "", "perfect": "have" if plural else "has"}.get(clause.mode, clause.mode)
    present = base if plural else singular
    verb = {"present": present, "perfect": participle}.get(clause.mode, base)
    return _words(auxiliary, f"{at} auxiliary") + _words(verb, f"{at} verb")


def _english_phrase(phrase: NounPhrase, at: str, case: int) -> Words:
    determiner = _ENGLISH[phrase.determiner].split()[phrase.plural]
    if determiner == "a" and phrase.adjective == "old":
        determiner = "an"
    noun = NOUNS[phrase.noun]["en"][phrase.plural]
    adjective = _words(phrase.adjective, f"{at} adjective")
    return [(determiner, f"{at} determiner"), *adjective, (noun, f"{at} noun")]


def german(meaning: Meaning) -> Words:
    """The finite verb second in a main clause, at the end of others; participle and particle at the end."""
    relative: Words = []
    if meaning.relative:
        who = {"m": "der", "f": "die", "n": "das"}[NOUNS[meaning.main.subject.noun]["de"][0]]
        who = "die" if meaning.main.subject.plural else who
        relative = [(",", None), (who, "relative"), *_german_last(meaning.relative, "3"), (",", None)]
    words = _german_main(meaning.main, "1", relative)
    if meaning.second:
        words += [(",", None), *_small("de", meaning.conjunction, "conjunction")]
        words += _german_phrase(meaning.second.subject, "2 subject", NOMINATIVE)
        words += _german_last(meaning.second, "2")
    return words


def _german_main(clause: Clause, at: str, relative: Words) -> Words:
    subject = _german_phrase(clause.subject, f"{at} subject", NOMINATIVE) + relative
    finite, end = _german_verb(clause, at)
    adverb = _small("de", clause.adverb, f"{at} adverb")
    first = [*adverb, *finite, *subject] if adverb else [*subject, *finite]
    return [*first, *_objects("de", clause, at, _german_phrase), *end]


def _german_last(clause: Clause, at: str) -> Words:
    finite, end = _german_verb(clause, at)
    if clause.mode == "present" and end:  # the particle joins its verb
        (particle, _), (verb, unit) = end[0], finite[0]
        return [*_objects("de", clause, at, _german_phrase), (particle + verb, unit)]
    return [*_objects("de", clause, at, _german_phrase), *end, *finite]


def _german_verb(clause: Clause, at: str) -> tuple[Words, Words]:
    """What stands second in a main clause, and what stands at its end."""
    plural = clause.subject.plural
    singular, base, participle, auxiliary, particle = VERBS[clause.verb]["de"]
    particle = particle.strip("-")
    forms = {"can": ("kann", "können"), "must": ("muss", "müssen")}
    forms["perfect"] = {"haben": ("hat", "haben"), "sein": ("ist", "sind")}[auxiliary]
    if clause.mode == "present":
        return _words(base if plural else singular, f"{at} verb"), _words(particle, f"{at} verb")
    verb = participle if clause.mode == "perfect" else particle + base
    return _words(forms[clause.mode][plural], f"{at} auxiliary"), _words(verb, f"{at} verb")


def _german_phrase(phrase: NounPhrase, at: str, case: int) -> Words:
    gender, nominative, other, plural = NOUNS[phrase.noun]["de"]
    row = 3 if phrase.plural else "mfn".index(gender)
    determiner = _GERMAN_DETERMINERS[phrase.determiner][row][case]
    ending = _GERMAN_ENDINGS["the" if phrase.determiner in ("the", "this") else "a"][row][case]
    noun = plural if phrase.plural else nominative if case == NOMINATIVE else other
    adjective: Words = []
    if phrase.adjective:
        stem = ADJECTIVES[phrase.adjective]["de"][0]
        adjective = [(stem + ending, f"{at} adjective")]
    return [(determiner, f"{at} determiner"), *adjective, (noun, f"{at} noun")]


def _french_verb(clause: Clause, at: str) -> Words:
    plural = clause.subject.plural
    singular, many, participle, infinitive, auxiliary = VERBS[clause.verb]["fr"]
    forms = {"can": ("peut", "peuvent"), "must": ("doit", "doivent"), "present": ("", "")}
    forms["perfect"] = {"avoir": ("a", "ont"), "être": ("est", "sont")}[auxiliary]
    if auxiliary == "être":
        feminine = NOUNS[clause.subject.noun]["fr"][0] == "f"
        participle += ("e" if feminine else "") + ("s" if plural else "")
    present = many if plural else singular
    verb = {"present": present, "perfect": participle}.get(clause.mode, infinitive)
    return _words(forms[clause.mode][plural], f"{at} auxiliary") + _words(verb, f"{at} verb")


def _french_phrase(phrase: NounPhrase, at: str, case: int) -> Words:
    """Most adjectives stand after the noun; determiner and adjective agree with it."""
    gender, *numbers = NOUNS[phrase.noun]["fr"]
    determiner = _FRENCH[phrase.determiner].split()[2 if phrase.plural else "mf".index(gender)]
    noun = [(numbers[phrase.plural], f"{at} noun")]
    if phrase.adjective:
        *forms, place = ADJECTIVES[phrase.adjective]["fr"]
        adjective = [(forms[2 * phrase.plural + (gender == "f")], f"{at} adjective")]
        noun = adjective + noun if place == "before" else noun + adjective
    return [(determiner, f"{at} determiner"), *noun]


def _small(language: str, lemma: str, unit: str) -> Words:
    return _words(_SMALL_WORDS[language][lemma], unit) if lemma else []


def _words(text: str, unit: str) -> Words:
    return [(word, unit) for word in text.replace("_", " ").split()]


LANGUAGES: dict[str, Callable[[Meaning], Words]] = {
    "de": german,
    "en": partial(_subject_first, "en", "who", _english_phrase, _english_verb),
    "fr": partial(_subject_first, "fr", "qui", _french_phrase, _french_verb),
}
"""From a meaning to its words."""


# ------------------------------------------------------------------ what is written
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
    adverb = choice(rng, ("", *ADVERBS))
    if kind == "speech":
        subject, mode = _phrase(rng, PEOPLE), choice(rng, MODES[:2])
        main = Clause(subject, choice(rng, SPEECH), mode, adverb=adverb)
        return Meaning(main, conjunction="that", second=_clause(rng, _after_conjunction(rng)))
    if kind == "relative":
        subject = _phrase(rng, PEOPLE)
        return Meaning(_clause(rng, subject)._replace(adverb=adverb), _clause(rng, subject))
    main = _clause(rng, _phrase(rng, AGENTS))._replace(adverb=adverb)
    if kind == "plain":
        return Meaning(main)
    second = _clause(rng, _after_conjunction(rng))
    return Meaning(main, conjunction=choice(rng, CONJUNCTIONS), second=second)


def _after_conjunction(rng: Random) -> NounPhrase:
    """Not ``un`` or ``une``, before which French would write ``qu'``."""
    determiners = tuple(word for word in DETERMINERS if word != "a")
    return _phrase(rng, AGENTS, determiners)


def _clause(rng: Random, subject: NounPhrase) -> Clause:
    verb, mode = choice(rng, tuple(OBJECTS)), choice(rng, MODES)
    objects = tuple(noun for noun in OBJECTS[verb] if noun != subject.noun)
    thing = _phrase(rng, objects) if objects else None
    place = _place(rng) if rng.random() < 0.4 else None
    return Clause(subject, verb, mode, thing, place)


def _place(rng: Random) -> tuple[str, NounPhrase]:
    preposition = choice(rng, (*PREPOSITIONS, "with"))
    nouns = PEOPLE if preposition == "with" else PLACES
    return preposition, _phrase(rng, nouns)._replace(plural=False)


def _phrase(rng: Random, nouns: Sequence[str], determiners: Sequence[str] = DETERMINERS) -> NounPhrase:
    noun, determiner = choice(rng, nouns), choice(rng, determiners)
    plural = noun in AGENTS and determiner != "a" and rng.random() < 0.3
    adjective = choice(rng, ADJECTIVES_OF[noun]) if rng.random() < 0.6 else ""
    return NounPhrase(noun, determiner, plural, adjective)
