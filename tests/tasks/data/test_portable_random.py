"""A synthetic corpus is never asked for more than its grammar has."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tasks.data.portable_random import MOST, check_sizes
from tasks.entailment import mini as pairs
from tasks.summarization import mini as headlines
from tasks.translation import mini as sentences

DRAWN = 4000
GRAMMARS: dict[str, Callable[[Random], object]] = {
    "pairs": lambda rng: tuple(pair.premise for pair in pairs._triple(rng)),
    "headlines": lambda rng: headlines._example(headlines._phrases(rng)).source,
    "sentences": lambda rng: sentences.LANGUAGES["de"](sentences._meaning(rng)),
}


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_every_grammar_writes_more_than_may_be_asked_for(grammar: str) -> None:
    """Two draws agree at least once in as many pairs of draws as there are different items."""
    rng = Random(1)
    different = {str(GRAMMARS[grammar](rng)) for _ in range(DRAWN)}
    assert DRAWN - len(different) < DRAWN**2 / 2 / MOST


@pytest.mark.measures("bad config")
@pytest.mark.parametrize("generate", [pairs.generate, headlines.generate, sentences.generate])
def test_more_than_a_grammar_has_is_refused_before_any_work(generate: Callable[..., object]) -> None:
    wanted = r"train, dev, test of a synthetic corpus must be at most 1,000,000 together, got 1,000,002"
    with pytest.raises(ValueError, match=wanted):
        generate(train=999_996, dev=3, test=3)


@pytest.mark.parametrize(("size", "multiple", "wanted"), [(0, 1, "at least 1"), (4, 3, "multiple of 3")])
def test_a_size_is_a_positive_multiple(size: int, multiple: int, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"dev must be .*{wanted}, got {size}"):
        check_sizes({"train": 3, "dev": size}, multiple)
