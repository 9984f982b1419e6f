"""Files that show the attention with which trained runs answered: JSON, or pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.runs.loaded_run import Answer, LoadedRun
from scripts.style import ENDINGS
from tasks.data.files import write_atomically
from tasks.seq2seq.translator import Output

if TYPE_CHECKING:
    from regattn._heatmap import Panel

FILES = (".json", *ENDINGS)
"""Endings of the files that attention is saved in."""

PICTURED = 8
"""Sentences that are drawn: in a picture of more, none could be found."""

_ASIDE = 4  # sentences of one run in a line of the picture


def save_attention(path: Path, answers: Iterable[Answer], runs: Sequence[LoadedRun]) -> str:
    """Save the attention of answers while they come, and say in a sentence what was saved.

    Args:
        path: ending in one of ``FILES``; a missing directory is made. A ``.json`` holds a list with an object
            for each output, one a line; a picture the best outputs of the first ``PICTURED`` sentences.
        answers: those of all ``runs``.
        runs: which were asked.
    """
    if path.suffix != ".json":
        return _draw(path, answers, runs)
    lines = _json(answers, runs)
    first = next(lines)  # input that is refused at once leaves no directory behind
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, chain([first], lines))
    return f"attention {path}"


def _json(answers: Iterable[Answer], runs: Sequence[LoadedRun]) -> Iterator[bytes]:
    """A list with an object a line for each output, written while they come."""
    begin = "[\n"
    for answer in answers:
        for run, outputs in zip(runs, answer.outputs, strict=True):
            for output in outputs:
                yield (begin + json.dumps(_attention(answer, run, output), ensure_ascii=False)).encode()
                begin = ",\n"
    yield b"[]\n" if begin == "[\n" else b"\n]\n"


def _attention(answer: Answer, run: LoadedRun, output: Output) -> dict[str, Any]:
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


def _draw(path: Path, answers: Iterable[Answer], runs: Sequence[LoadedRun]) -> str:
    """Several runs stand side by side, a line for each sentence."""
    from scripts.heatmap import draw_panels  # and matplotlib, which text and JSON do without

    drawn: list[list[Panel]] = []
    wanted = 0
    for answer in answers:
        if any(outputs[0].ids for outputs in answer.outputs):
            wanted += 1
            if wanted <= PICTURED:
                drawn.append(_panels(answer, runs))
    if not drawn:
        return f"no picture {path}: no output has words"
    if len(runs) == 1:
        panels = [panel for line in drawn for panel in line]
        drawn = [panels[start : start + _ASIDE] for start in range(0, len(panels), _ASIDE)]
    draw_panels(path, drawn)
    more = f"; {wanted - PICTURED:,} more sentences are left out" if wanted > PICTURED else ""
    return f"picture {path}{more}"


def _panels(answer: Answer, runs: Sequence[LoadedRun]) -> list[Panel]:
    from scripts.heatmap import panel_of

    mappings = [run.mapping for run in runs]
    panels = []
    for run, outputs in zip(runs, answer.outputs, strict=True):
        if outputs[0].ids:
            title = run.mapping if mappings.count(run.mapping) == 1 else run.name
            grid = run.grid(answer.text, outputs[0])
            panels.append(panel_of(grid, f"line {answer.number + 1}, {title}"))
    return panels
