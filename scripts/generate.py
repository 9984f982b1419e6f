"""Ask a trained translation or summarization model for every line of a text.

`make translate RUN=… < sentences.txt` for a run of TASK=translation, `make summarize RUN=… < sentences.txt`
for one of TASK=gigaword. The run's directory is all that is read: its config, its vocabulary and the weights
that did best on dev; its corpus is not needed.

Standard input is UTF-8, a sentence a line, ended by "\\n" only. Standard output has one line for each, empty
for one without words, and nothing else; remarks go to standard error. Lines are read, answered and
written in chunks (one by one at a terminal), so that the input may be of any length.
"""

from __future__ import annotations

import argparse
import codecs
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, get_args

import torch

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import plain
from scripts.runs.setup import find_run_for, read_run_config, run_names
from scripts.style import ENDINGS, check_drawing, draw_panels, panel_of
from tasks._registry import TASKS
from tasks.attention import AttentionGrid
from tasks.checks import counted
from tasks.data.corpus import MAX_CHARS
from tasks.data.files import write_atomically
from tasks.loading import load_trained
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Output, Translator
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import Device, TrainerSettings

if TYPE_CHECKING:
    from regattn._heatmap import Panel

FILES = (".json", *ENDINGS)
"""Endings of the files that attention is saved in."""

PICTURED = 8
"""Sentences that are drawn: in a picture of more, none could be found."""

_ASIDE = 4  # of one run's in a line of the picture
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
    more = f"; {counted(wanted - PICTURED, 'more sentence')} left out" if wanted > PICTURED else ""
    return f"picture {path}{more}"


# ------------------------------------------------------------------ the command
def generate(arguments: Sequence[str]) -> None:
    """Answer standard input as the command line asks."""
    options = _options(arguments)
    if options.attention is not None and options.attention.suffix in ENDINGS:
        check_drawing()
    runs = [_load(run, options) for run in run_names(options.run)]
    if options.nbest is not None and len(runs) > 1:
        raise UsageError(f"--nbest must get one run, got {len(runs)}")
    answers = answer_lines(runs, is_list=options.nbest is not None)
    if options.attention is None:
        deque(answers, maxlen=0)
    else:
        print(save_attention(options.attention, answers, runs), file=sys.stderr)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(
        prog="python -m scripts.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        choices=[spec.command for spec in TASKS.values() if spec.writes_text],
        help="which task the run must be of",
    )
    parser.add_argument(
        "run",
        help="id of the run, its beginning, or the run's directory; of several, with spaces between them, "
        "the outputs stand in one line in that order, with tabs between them",
    )
    parser.add_argument(
        "--nbest",
        type=int,
        metavar="N",
        help="write at most N outputs for each line, best first, each in a line of Moses's form "
        "`number ||| output ||| score`, lines numbered from 0; a beam below N becomes N, unless it was given",
    )
    parser.add_argument("--beam-size", type=int, metavar="K", help="width of the search")
    parser.add_argument("--max-length", type=int, metavar="N", help="most tokens of an output")
    parser.add_argument(
        "--length-penalty", type=float, metavar="A", help="exponent of the length that scores are divided by"
    )
    parser.add_argument(
        "--attention",
        type=_attention_file,
        metavar="FILE",
        help="also save the attention: a .json is a list with an object for each output (index from 0, run, "
        "mapping, input, output, score, source and target tokens, and for each target token a row of weights "
        f"and one of groups, 0 being none); a {', '.join(FILES[1:])} shows the best outputs of the first "
        f"{PICTURED} sentences, those of several runs side by side",
    )
    parser.add_argument(
        "--device",
        choices=get_args(Device),
        default="auto",
        help="auto, the default, is cuda where there is one",
    )
    parser.epilog = "What is not given is as the run was trained."
    return parser.parse_args(arguments)


def _attention_file(name: str) -> Path:
    path = Path(name)
    if path.suffix not in FILES:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(FILES)}, got {path.name!r}")
    if path.is_dir():  # what was answered would be written there last
        raise argparse.ArgumentTypeError(f"must be a file, got the directory {name}")
    return path


def _load(name: str, options: argparse.Namespace) -> LoadedRun:
    run = find_run_for(options.command, name)
    trainer = replace(TrainerSettings(**read_run_config(run).trainer), device=options.device)
    translator = load_translator(run, trainer.torch_device())
    return LoadedRun(run.path.name, translator, _settings(translator.settings, options))


def _settings(trained: SearchSettings, options: argparse.Namespace) -> SearchSettings:
    """The settings of the run, changed as asked."""
    n_best = 1 if options.nbest is None else options.nbest
    beam = max(trained.beam_size, n_best) if options.beam_size is None else options.beam_size
    if options.beam_size is None and beam > trained.beam_size:
        print(f"beam of {beam} instead of {trained.beam_size}, for as many outputs", file=sys.stderr)
    given = {"max_length": options.max_length, "length_penalty": options.length_penalty}
    given = {name: value for name, value in given.items() if value is not None}
    return replace(trained, **given, beam_size=beam, n_best=n_best)


if __name__ == "__main__":
    cli.main(lambda: generate(sys.argv[1:]))
