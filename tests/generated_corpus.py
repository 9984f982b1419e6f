"""A corpus of any size in the files of Gigaword's: `python -m tests.generated_corpus <folder> 3800000`.

Sentences of 31 words and headlines of 8, of lengths and words distributed as in text; a headline's words are
taken from its sentence. Nothing in it means anything: it is for the times and the memory that a size costs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_WORDS = 120_000
_CHUNK = 50_000


def write(folder: Path, train: int, held_out: int = 200, seed: int = 1) -> None:
    """Write ``train`` pairs, and ``held_out`` for dev and for test, as Rush's archive has them.

    Of the training pairs one in a thousand is blank, and a few stand in dev too.
    """
    random = np.random.RandomState(seed)
    words = np.array(["".join(_LETTERS[random.randint(26, size=length)]) for length in _lengths(random)])
    dev = [*_pairs(random, words, held_out)]
    _write(folder / "train", "valid.article.filter.txt", "valid.title.filter.txt", iter(dev))
    _write(folder / "Giga", "input.txt", "task1_ref0.txt", _pairs(random, words, held_out))

    def pairs() -> Iterator[tuple[str, str]]:
        for number, pair in enumerate(_pairs(random, words, train)):
            is_shared, is_blank = number % 5_000 == 7, number % 1_000 == 11
            yield dev[number % len(dev)] if is_shared else ("", "") if is_blank else pair

    _write(folder / "train", "train.article.txt", "train.title.txt", pairs())


_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def _lengths(random: np.random.RandomState) -> np.ndarray:
    return random.randint(2, 11, size=_WORDS)


def _pairs(random: np.random.RandomState, words: np.ndarray, count: int) -> Iterator[tuple[str, str]]:
    for start in range(0, count, _CHUNK):
        n = min(_CHUNK, count - start)
        lengths = np.maximum(random.poisson(31, n), 12)
        titles = np.clip(random.poisson(8, n), 3, 11)
        ranks = (random.pareto(0.9, lengths.sum()) * 3).astype(np.int64)
        chosen = words[np.where(ranks < len(words), ranks, ranks % len(words))]
        ends = lengths.cumsum()
        for end, length, title in zip(ends.tolist(), lengths.tolist(), titles.tolist(), strict=True):
            sentence = chosen[end - length : end].tolist()
            yield " ".join([*sentence, "."]), " ".join(sentence[:title])


def _write(folder: Path, sources: str, targets: str, pairs: Iterator[tuple[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / sources).open("w") as source, (folder / targets).open("w") as target:
        for text, title in pairs:
            source.write(f"{text}\n")
            target.write(f"{title}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))


def write_hub(folder: Path, rows: dict[str, list[dict[str, Any]]], config: str | None = None) -> Path:
    """A data set as on the hub: one parquet file for each split, in a folder of the configuration."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = folder / (config or "data")
    data.mkdir(parents=True)
    for split, content in rows.items():
        parquet.write_table(arrow.Table.from_pylist(content), data / f"{split}-00000-of-00001.parquet")
    if config:
        card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n"
        card += "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in rows)
        (folder / "README.md").write_text(card + "---\n")
    return folder
