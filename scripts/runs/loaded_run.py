"""A trained encoder–decoder at work: what it answers to the lines of a text, and with which attention."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import torch

from scripts.cli import UsageError
from scripts.runs.config import plain
from scripts.runs.setup import read_run_config
from scripts.style import ENDINGS, draw_panels, panel_of
from tasks.attention import AttentionGrid
from tasks.data.corpus import MAX_CHARS
from tasks.data.files import write_atomically
from tasks.loading import load_trained
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Output, Translator
from tasks.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from regattn._heatmap import Panel

_CHUNK = 256  # lines: enough to batch sentences of one length together, and soon written


class LoadedRun(NamedTuple):
    """A run that is asked, and how it searches."""

    name: str
    translator: Translator
    settings: SearchSettings

    @property
    def mapping(self) -> str:
        return self.translator.mapping.function.__name__


class Answer(NamedTuple):
    """A line of the input, counted from 0 as in Moses's lists, and what each run wrote for it, best first."""

    number: int
    text: str
    outputs: list[list[Output]]


def load_translator(run: RunDirectory, device: torch.device) -> Translator:
    """The translator of a run whose config is one of this project's: :func:`tasks.loading.from_run`."""
    translator = load_trained(plain(read_run_config(run)), run, device)
    if not isinstance(translator, Translator):
        raise UsageError(f"RUN must name runs that write text, got {run.path.name}")
    return translator


def answer_lines(runs: Sequence[LoadedRun], *, is_list: bool) -> Iterator[Answer]:
    """Answer standard input on standard output, each chunk written out before its answers are handed on.

    The best outputs of several runs stand in one line, with tabs between them; with ``is_list`` all outputs
    of the one run, in lines of Moses's form.
    """
    if sys.stdin is None or sys.stdout is None:
        raise UsageError("standard input and output must be open, got one that is closed")
    size = 1 if sys.stdin.isatty() else _CHUNK
    lines, answers = enumerate(_lines(sys.stdin.buffer)), list[Answer]()
    while some := list(islice(lines, size)):
        texts = [text for _, text in some]
        found = [run.translator.generate(texts, run.settings) for run in runs]
        answers = [
            Answer(number, text, list(outputs)) for (number, text), *outputs in zip(some, *found, strict=True)
        ]
        try:
            for answer in answers:
                sys.stdout.buffer.write(_written(answer, is_list).encode())
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            return  # whoever read has seen enough, as head has; the attention until here is saved
        yield from answers
    if not answers:
        print("standard input is empty: nothing to answer", file=sys.stderr)


def _lines(stream: BinaryIO) -> Iterator[str]:
    r"""Lines ended by "\n" only, without it, and without a byte-order mark."""
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            got = f"byte 0x{line[error.start]:02x} at offset {error.start}"
            raise UsageError(f"line {number} of the input must be UTF-8, got {got}") from None
        if len(text) > MAX_CHARS:
            wanted = f"line {number} of the input must have at most {MAX_CHARS:,} characters"
            raise UsageError(f"{wanted}, got {len(text):,}")
        yield text


def _written(answer: Answer, is_list: bool) -> str:
    if not is_list:
        return "\t".join(best.text for best, *_ in answer.outputs) + "\n"
    (outputs,) = answer.outputs
    return "".join(f"{answer.number} ||| {output.text} ||| {output.score:.6f}\n" for output in outputs)


# ------------------------------------------------------------------ the attention with which it answered
FILES = (".json", *ENDINGS)
"""Endings of the files that attention is saved in."""

PICTURED = 8
"""Sentences that are drawn: in a picture of more, none could be found."""

_ASIDE = 4  # of one run's in a line of the picture


def save_attention(path: Path, answers: Iterable[Answer], runs: Sequence[LoadedRun]) -> str:
    """Save the attention of answers while they come, and say in a sentence what was saved.

    A ``.json`` holds a list with an object for each output, one a line; a picture the best outputs of the
    first ``PICTURED`` sentences, those of several runs side by side.
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
                yield (begin + json.dumps(_attention(answer, output, run), ensure_ascii=False)).encode()
                begin = ",\n"
    yield b"[]\n" if begin == "[\n" else b"\n]\n"


def _attention(answer: Answer, output: Output, run: LoadedRun) -> dict[str, Any]:
    empty = AttentionGrid([], [], [], [])
    grid = run.translator.grid(answer.text, output.ids) if output.source else empty
    return {
        "index": answer.number,
        "run": run.name,
        "mapping": run.mapping,
        "input": answer.text,
        "output": output.text,
        "score": output.score,
        **asdict(grid.rounded(6)),  # digits are what float32 holds
    }


def _draw(path: Path, answers: Iterable[Answer], runs: Sequence[LoadedRun]) -> str:
    lines: list[list[Panel]] = []
    wanted = 0
    for answer in (answer for answer in answers if any(best.ids for best, *_ in answer.outputs)):
        wanted += 1
        if wanted <= PICTURED:
            best = [(run, outputs[0]) for run, outputs in zip(runs, answer.outputs, strict=True)]
            lines.append([
                panel_of(
                    run.translator.grid(answer.text, output.ids), f"line {answer.number + 1}, {run.mapping}"
                )
                for run, output in best
                if output.ids
            ])  # fmt: skip
    if not lines:
        return f"no picture {path}: no output has words"
    if len(runs) == 1:
        panels = list(chain(*lines))
        lines = [panels[start : start + _ASIDE] for start in range(0, len(panels), _ASIDE)]
    draw_panels(path, lines)
    more = f"; {wanted - PICTURED:,} more sentences are left out" if wanted > PICTURED else ""
    return f"picture {path}{more}"
