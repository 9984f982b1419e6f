"""What trained runs answer to the lines of a text, and the files that show their attention."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scripts.style import ENDINGS
from tasks.attention import AttentionGrid
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Output, Translator
from tasks.training.atomic import write_atomically

if TYPE_CHECKING:
    from scripts.pictures import Panel

FILES = (".json", *ENDINGS)
"""Endings of the files that attention is saved in."""

PICTURED = 8
"""PaddedBatch that are drawn: in a picture of more, none could be found."""

_ASIDE = 4  # sentences of one run in a line of the picture


@dataclass(frozen=True)
class Answer:
    """A line of the input, and what every run wrote for it, best first."""

    number: int  # from 0, as in Moses's lists
    text: str
    outputs: list[list[Output]]


@dataclass
class Asked:
    """A run at work, and how much it wrote in how long."""

    name: str
    translator: Translator
    settings: SearchSettings
    tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    @property
    def mapping(self) -> str:
        """The name of its mapping."""
        return self.translator.mapping.function.__name__

    def write(self, texts: Sequence[str]) -> list[list[Output]]:
        """The outputs of the run."""
        begun = time.perf_counter()
        written = self.translator.generate(texts, self.settings)
        self.seconds += time.perf_counter() - begun
        self.tokens += sum(len(output.ids) for outputs in written for output in outputs)
        return written

    def grid(self, text: str, output: Output) -> AttentionGrid:
        """The attention while ``output`` was written."""
        if not output.source:
            empty = torch.zeros(0, 0)
            return AttentionGrid((), (), empty, empty.long())
        return self.translator.grid(text, output.ids)


def save_attention(path: Path, answers: Iterable[Answer], asked: Sequence[Asked]) -> str:
    """Save the attention of answers while they come, and say in a sentence what was saved.

    Args:
        path: ending in one of ``FILES``; a missing directory is made. A ``.json`` holds a list with an object
            for each output, one a line; a picture the best outputs of the first ``PICTURED`` sentences.
        answers: those of all runs in ``asked``.
        asked: the runs.
    """
    if path.suffix != ".json":
        return _draw(path, answers, asked)
    lines = _json(answers, asked)
    first = next(lines)  # input that is refused at once leaves no directory behind
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, chain([first], lines))
    return f"attention {path}"


def _json(answers: Iterable[Answer], asked: Sequence[Asked]) -> Iterator[bytes]:
    """A list with an object a line for each output, written while they come."""
    begin = "[\n"
    for answer in answers:
        for run, outputs in zip(asked, answer.outputs, strict=True):
            for output in outputs:
                yield (begin + json.dumps(_attention(answer, run, output), ensure_ascii=False)).encode()
                begin = ",\n"
    yield b"[]\n" if begin == "[\n" else b"\n]\n"


def _attention(answer: Answer, run: Asked, output: Output) -> dict[str, Any]:
    grid = run.grid(answer.text, output)
    return {
        "index": answer.number,
        "run": run.name,
        "mapping": run.mapping,
        "input": answer.text,
        "output": output.text,
        "score": output.score,
        "source": grid.source,
        "target": grid.target,
        # Six digits are what float32 holds; a weight that is not 0 never becomes 0.
        "weights": [[float(f"{weight:.6g}") for weight in row] for row in grid.weights.tolist()],
        "groups": grid.groups.tolist(),
    }


def _draw(path: Path, answers: Iterable[Answer], asked: Sequence[Asked]) -> str:
    """Several runs stand side by side, a line for each sentence."""
    from scripts.pictures import draw_panels  # and matplotlib, which text and JSON do without

    drawn: list[list[Panel]] = []
    wanted = 0
    for answer in answers:
        if any(outputs[0].ids for outputs in answer.outputs):
            wanted += 1
            if wanted <= PICTURED:
                drawn.append(_panels(answer, asked))
    if not drawn:
        return f"no picture {path}: no output has words"
    if len(asked) == 1:
        panels = [panel for line in drawn for panel in line]
        drawn = [panels[start : start + _ASIDE] for start in range(0, len(panels), _ASIDE)]
    draw_panels(path, drawn)
    more = f"; {wanted - PICTURED:,} more sentences are left out" if wanted > PICTURED else ""
    return f"picture {path}{more}"


def _panels(answer: Answer, asked: Sequence[Asked]) -> list[Panel]:
    from scripts.pictures import Panel

    mappings = [run.mapping for run in asked]
    panels = []
    for run, outputs in zip(asked, answer.outputs, strict=True):
        if outputs[0].ids:
            title = run.mapping if mappings.count(run.mapping) == 1 else run.name
            grid = run.grid(answer.text, outputs[0])
            panels.append(Panel.of(grid, f"line {answer.number + 1}, {title}"))
    return panels
