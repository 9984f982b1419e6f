"""Texts with the texts that should come out of them: what translation and summarization read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.data import corpus

Link = tuple[int, int]


class Links(NamedTuple):
    """Word alignments of an example: pairs (source word, target word), words counted from 0 between spaces.

    ``possible`` holds every sure link as well.
    """

    sure: frozenset[Link]
    possible: frozenset[Link]


@dataclass(frozen=True)
class Example:
    """A source text and its references, one in training, as the corpus has them.

    ``links`` align the source with the first reference, where a corpus knows them; both are then cut into
    words by spaces.
    """

    source: str
    references: tuple[str, ...]
    links: Links | None = None

    @property
    def target(self) -> str:
        return self.references[0]


@dataclass(frozen=True)
class Corpus(corpus.Corpus[Example]):
    """A corpus of examples.

    Attributes:
        languages: codes of the source's and the references' language.
        tokenized: whether the texts are cut into words by Moses's rules already, so that they are put
            together again before they are scored.
    """

    languages: tuple[str, str] = ("en", "en")
    tokenized: bool = False


def checksum(splits: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over the texts and links of all examples, split after split as they stand."""
    return corpus.checksum(splits, _content)


def _content(example: Example) -> list[Any]:
    links = [sorted(kind) for kind in example.links] if example.links else None
    return [example.source, example.references, links]
