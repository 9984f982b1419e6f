"""A trained encoder–decoder at work: what it answers to the lines of a text, and with which attention."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from scripts.cli import UsageError
from scripts.runs.config import plain
from scripts.runs.setup import read_run_config
from scripts.style import ENDINGS
from tasks.attention import AttentionGrid
from tasks.data.corpus import MAX_CHARS
from tasks.data.files import write_atomically
from tasks.loading import load_trained
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Output, Translator
from tasks.training.run_directory import RunDirectory

_CHUNK = 256  # lines: enough to batch sentences of one length together, and soon written


class Answer(NamedTuple):
    """A line of the input, counted from 0 as in Moses's lists, and what was written for it, best first."""

    number: int
    text: str
    outputs: list[Output]


def load_translator(run: RunDirectory, device: torch.device) -> Translator:
    """The translator of a run whose config is one of this project's: :func:`tasks.loading.from_run`.

    Raises:
        UsageError: the run is of a task that writes no text.
    """
    translator = load_trained(plain(read_run_config(run)), run, device)
    if not isinstance(translator, Translator):
        raise UsageError(f"RUN must name runs that write text, got {run.path.name}")
    return translator


def answer_lines(translator: Translator, settings: SearchSettings, *, is_list: bool) -> Iterator[Answer]:
    """Answer standard input on standard output, each chunk written out before its answers are handed on.

    Args:
        translator: asked.
        settings: of its search.
        is_list: whether to write all outputs, in lines of Moses's form, not the best.

    Raises:
        UsageError: a line is not UTF-8, or longer than any sentence; there is nothing to read or write.
    """
    if sys.stdin is None or sys.stdout is None:
        raise UsageError("standard input and output must be open, got one that is closed")
    size = 1 if sys.stdin.isatty() else _CHUNK
    lines, answers = enumerate(_lines(sys.stdin.buffer)), list[Answer]()
    while some := list(islice(lines, size)):
        found = translator.generate([text for _, text in some], settings)
        answers = [Answer(*line, outputs) for line, outputs in zip(some, found, strict=True)]
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
    r"""Lines ended by "\n" only, without it, and without a byte-order mark.

    Raises:
        UsageError: a line is not UTF-8, or longer than any sentence.
    """
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
        return f"{answer.outputs[0].text}\n"
    return "".join(f"{answer.number} ||| {output.text} ||| {output.score:.6f}\n" for output in answer.outputs)


# ------------------------------------------------------------------ the attention with which it answered
FILES = (".json", *ENDINGS)
"""Endings of the files that attention is saved in."""

PICTURED = 8
"""Sentences that are drawn: in a picture of more, none could be found."""

_ASIDE = 4  # of them in a line of the picture


def save_attention(path: Path, answers: Iterable[Answer], translator: Translator) -> str:
    """Save the attention of answers while they come, and say in a sentence what was saved.

    Args:
        path: ending in one of ``FILES``; a missing directory is made. A ``.json`` holds a list with an object
            for each output, one a line; a picture the best outputs of the first ``PICTURED`` sentences.
        answers: those of ``translator``.
        translator: which was asked.
    """
    if path.suffix != ".json":
        return _draw(path, answers, translator)
    lines = _json(answers, translator)
    first = next(lines)  # input that is refused at once leaves no directory behind
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, chain([first], lines))
    return f"attention {path}"


def _json(answers: Iterable[Answer], translator: Translator) -> Iterator[bytes]:
    """A list with an object a line for each output, written while they come."""
    begin = "[\n"
    for answer in answers:
        for output in answer.outputs:
            yield (begin + json.dumps(_attention(answer, output, translator), ensure_ascii=False)).encode()
            begin = ",\n"
    yield b"[]\n" if begin == "[\n" else b"\n]\n"


def _attention(answer: Answer, output: Output, translator: Translator) -> dict[str, Any]:
    grid = translator.grid(answer.text, output.ids) if output.source else AttentionGrid([], [], [], [])
    return {
        "index": answer.number,
        "mapping": translator.mapping.function.__name__,
        "input": answer.text,
        "output": output.text,
        "score": output.score,
        **asdict(grid.rounded(6)),  # digits are what float32 holds
    }


def _draw(path: Path, answers: Iterable[Answer], translator: Translator) -> str:
    from scripts.heatmap import draw_panels, panel_of  # and matplotlib, which text and JSON do without

    panels, wanted = [], 0
    for answer in (answer for answer in answers if answer.outputs[0].ids):
        wanted += 1
        if wanted <= PICTURED:
            grid = translator.grid(answer.text, answer.outputs[0].ids)
            panels.append(panel_of(grid, f"line {answer.number + 1}, {translator.mapping.function.__name__}"))
    if not panels:
        return f"no picture {path}: no output has words"
    draw_panels(path, [panels[start : start + _ASIDE] for start in range(0, len(panels), _ASIDE)])
    more = f"; {wanted - PICTURED:,} more sentences are left out" if wanted > PICTURED else ""
    return f"picture {path}{more}"
