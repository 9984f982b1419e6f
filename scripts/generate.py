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
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.loaded_run import FILES, PICTURED, LoadedRun, answer_lines, load_translator, save_attention
from scripts.runs.setup import find_run_for, read_run_config, run_names
from scripts.style import ENDINGS, check_drawing
from tasks._registry import TASKS
from tasks.seq2seq.search import SearchSettings
from tasks.training.settings import Device, TrainerSettings


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
