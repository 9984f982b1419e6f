"""How fast trained encoder–decoders write, and how much of that is attention's mapping.

`make bench-decoding RUN="<run> <run> …" < sentences.txt`: the runs take turns at the same sentences, greedily
and with a beam of 5; medians go to results/bench/decoding.json and, as a table, to decoding.md beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from scripts import cli
from scripts.cli import UsageError
from scripts.markdown import markdown
from scripts.runs import find_run, load_translator
from tasks.ranges import check_number
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Translator
from tasks.training.atomic import write_atomically, write_json_atomically
from tasks.training.provenance import commit, versions
from tasks.training.settings import Threads

RESULTS = Path("results/bench")
BEAMS = {"greedy": 1, "beam 5": 5}
REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """One pass over the sentences: output tokens, ends counted, and seconds, those in the mapping apart."""

    tokens: int
    seconds: float
    in_mapping: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def mapping_share(self) -> float:
        return self.in_mapping / self.seconds


def measure(translator: Translator, texts: Sequence[str], settings: SearchSettings) -> Speed:
    """Write an output for each of ``texts`` and time it."""
    with _stopwatch(translator.mapping) as spent:
        begun = time.perf_counter()
        outputs = translator.generate(texts, settings)
        seconds = time.perf_counter() - begun
    return Speed(sum(len(best[0].weights) for best in outputs), seconds, sum(spent))


@contextmanager
def _stopwatch(module: nn.Module) -> Iterator[list[float]]:
    """Collect the seconds of every call of ``module``, on the CPU."""
    begun: list[float] = []
    spent: list[float] = []
    handles = [
        module.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
        module.register_forward_hook(lambda *_: spent.append(time.perf_counter() - begun.pop())),
    ]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def decoding(arguments: Sequence[str]) -> None:
    """Measure the runs on standard input and write the results."""
    options = _options(arguments)
    texts = [line for line in sys.stdin.read().split("\n") if line.strip()]
    if not texts:
        raise UsageError("bench-decoding wants sentences on standard input, got none")
    torch.set_num_threads(options.threads)
    found = {run: find_run(run) for run in options.runs.split()}
    if not found:
        raise UsageError("RUN must name a run, or several with spaces between them, got none")
    translators = {run.path.name: load_translator(run, torch.device("cpu")) for run in found.values()}
    results = _race(translators, texts)
    history = {
        "commit": commit(),
        "versions": versions(),
        "threads": options.threads,
        "sentences": len(texts),
    }
    write_json_atomically(RESULTS / "decoding.json", {"history": history, "runs": results})
    text = table(history, results)
    write_atomically(RESULTS / "decoding.md", [text.encode()])
    print(text)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m scripts.decoding", description=__doc__)
    parser.add_argument("runs", help="ids of runs, or beginnings of them, with spaces between them")
    parser.add_argument("--threads", type=int, default=2, help="threads of the CPU")
    given = parser.parse_args(arguments)
    check_number("threads", given.threads, Threads)
    return given


def _race(translators: dict[str, Translator], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Medians of passes in which all take turns, so that a disturbance meets all."""
    speeds: dict[tuple[str, str], list[Speed]] = {}
    for translator in translators.values():
        measure(translator, texts[:8], replace(translator.settings, beam_size=1, n_best=1))  # compiles
    for _ in range(REPEATS):
        for name, translator in translators.items():
            for kind, beam in BEAMS.items():
                settings = replace(translator.settings, beam_size=beam, n_best=1)
                speeds.setdefault((name, kind), []).append(measure(translator, texts, settings))
    results: dict[str, dict[str, Any]] = {
        name: {"mapping": translator.mapping.function.__name__} for name, translator in translators.items()
    }
    for (name, kind), found in speeds.items():
        results[name][kind] = {
            "tokens": found[0].tokens,
            "tokens_per_second": round(median(speed.tokens_per_second for speed in found), 1),
            "mapping_share": round(median(speed.mapping_share for speed in found), 4),
        }
    return results


def table(history: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """The results in Markdown."""
    heads = ["mapping", *(f"{kind}, {what}" for kind in BEAMS for what in ("tokens/s", "in the mapping"))]
    rows = [
        [
            run["mapping"],
            *(
                cell
                for kind in BEAMS
                for cell in (
                    f"{run[kind]['tokens_per_second']:,.0f}",
                    f"{100 * run[kind]['mapping_share']:.1f} %",
                )
            ),
        ]
        for run in results.values()
    ]
    intro = (
        f"{history['sentences']:,} sentences in batches of 64, {history['threads']} CPU threads, float32; "
        f"medians of {REPEATS} passes in which the runs took turns; tokens of outputs, their ends counted."
    )
    return f"# Speed of decoding\n\n{intro}\n\n{markdown(heads, rows)}\n"


if __name__ == "__main__":
    cli.main(lambda: decoding(sys.argv[1:]))
