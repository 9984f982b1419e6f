"""Trained encoder–decoders at work: what they answer to the lines of a text, and with which attention."""

from __future__ import annotations

import codecs
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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

if TYPE_CHECKING:
    from regattn._heatmap import Panel

_CHUNK = 256  # lines: enough to batch sentences of one length together, and soon written


@dataclass(frozen=True)
class Answer:
    """A line of the input, and what every run wrote for it, best first."""

    number: int  # from 0, as in Moses's lists
    text: str
    outputs: list[list[Output]]


@dataclass
class LoadedRun:
    """A run at work, and how much it wrote in how long."""

    name: str
    translator: Translator
    settings: SearchSettings
    sentences: int = field(default=0, init=False)
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
        self.sentences += len(texts)
        self.tokens += sum(len(output.ids) for outputs in written for output in outputs)
        return written

    def grid(self, text: str, output: Output) -> AttentionGrid:
        """The attention while ``output`` was written."""
        if not output.source:
            empty = torch.zeros(0, 0)
            return AttentionGrid((), (), empty, empty.long())
        return self.translator.grid(text, output.ids)

    def say_speed(self, named: bool) -> None:
        """Say how fast it wrote, on standard error."""
        seconds = max(self.seconds, 1e-9)
        rates = f"{self.sentences / seconds:,.1f} sentences/s, {self.tokens / seconds:,.1f} tokens/s"
        print(
            f"{self.name + ': ' if named else ''}{self.sentences:,} sentences, "
            f"{self.tokens:,} output tokens in {seconds:.1f} s: {rates}",
            file=sys.stderr,
        )


def load_translator(run: RunDirectory, device: torch.device) -> Translator:
    """The translator of a run whose config is one of this project's: :func:`tasks.loading.from_run`.

    Raises:
        UsageError: the run is of a task that writes no text.
    """
    translator = load_trained(plain(read_run_config(run)), run, device)
    if not isinstance(translator, Translator):
        raise UsageError(f"RUN must name runs that write text, got {run.path.name}")
    return translator


def answer_lines(runs: Sequence[LoadedRun], is_list: bool) -> Iterator[Answer]:
    """Answer standard input on standard output, each chunk written out before its answers are handed on.

    What it says in the end, how fast that was, goes to standard error.

    Args:
        runs: several of them stand in one line, with tabs between them.
        is_list: whether to write all outputs of the only run, in lines of Moses's form, not the best.

    Raises:
        UsageError: a line is not UTF-8, or longer than any sentence; there is nothing to read or write.
    """
    if sys.stdin is None or sys.stdout is None:
        raise UsageError("standard input and output must be open, got one that is closed")
    sentences = 0
    size = 1 if sys.stdin.isatty() else _CHUNK
    lines = _lines(sys.stdin.buffer)
    while texts := list(islice(lines, size)):
        written = [run.write(texts) for run in runs]
        answers = [
            Answer(sentences + place, text, [of[place] for of in written]) for place, text in enumerate(texts)
        ]
        sentences += len(texts)
        try:
            for answer in answers:
                sys.stdout.buffer.write(_written(answer, is_list).encode())
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            return  # whoever read has seen enough, as head has; the attention until here is saved
        yield from answers
    if not sentences:
        print("standard input is empty: nothing to answer", file=sys.stderr)
    for run in runs:
        run.say_speed(len(runs) > 1)


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
        return "\t".join(outputs[0].text for outputs in answer.outputs) + "\n"
    (outputs,) = answer.outputs
    return "".join(f"{answer.number} ||| {output.text} ||| {output.score:.6f}\n" for output in outputs)


# ------------------------------------------------------------------ the attention with which they answered
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
