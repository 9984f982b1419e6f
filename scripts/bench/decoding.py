"""How fast trained encoder–decoders write, and how much of that is attention's mapping.

`make bench-decoding RUN="<run> <run> …" < sentences.txt`: the runs take turns at the same sentences, greedily
and with a beam of 5; medians go to results/bench/decoding.json and, as a table, to decoding.md beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from scripts import cli
from scripts.cli import UsageError
from scripts.generate import load_translator
from scripts.markdown import markdown
from scripts.runs.setup import find_run, run_names
from tasks.checks import check_number
from tasks.data.files import write_atomically, write_json_atomically
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.translator import Translator
from tasks.training.provenance import commit, versions
from tasks.training.settings import Threads

RESULTS = Path("results/bench")
BEAMS = {"greedy": 1, "beam 5": 5}
REPEATS = 3


class Speed(NamedTuple):
    """Of one pass over the sentences: output tokens, ends counted, and the share of time in the mapping."""

    tokens: int
    tokens_per_second: float
    mapping_share: float


def measure(translator: Translator, texts: Sequence[str], settings: SearchSettings) -> Speed:
    """Generate an output for each of ``texts`` and time it, and in it every call of the mapping."""
    begun: list[float] = []
    spent: list[float] = []
    mapping = translator.mapping
    hooks = [
        mapping.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
        mapping.register_forward_hook(lambda *_: spent.append(time.perf_counter() - begun[-1])),
    ]
    start = time.perf_counter()
    try:
        outputs = translator.generate(texts, settings)
        seconds = time.perf_counter() - start
    finally:
        for hook in hooks:
            hook.remove()
    tokens = sum(len(best[0].weights) for best in outputs)
    return Speed(tokens, tokens / seconds, sum(spent) / seconds)


def decoding(arguments: Sequence[str]) -> None:
    """Measure the runs on standard input and write the results."""
    parser = cli.Parser(prog="python -m scripts.bench.decoding", description=__doc__)
    parser.add_argument("runs", help="ids of runs, or beginnings of them, with spaces between them")
    parser.add_argument("--threads", type=int, default=2, help="threads of the CPU")
    options = parser.parse_args(arguments)
    check_number("threads", options.threads, Threads)
    texts = [line for line in sys.stdin.read().split("\n") if line.strip()]
    if not texts:
        raise UsageError("standard input must hold sentences, got none")
    runs = [find_run(run) for run in dict.fromkeys(run_names(options.runs))]
    torch.set_num_threads(options.threads)
    translators = {run.path.name: load_translator(run, torch.device("cpu")) for run in runs}
    results = measure_interleaved(translators, texts)
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


def measure_interleaved(
    translators: Mapping[str, Translator], texts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Medians of passes in which all take turns, so that a disturbance meets all."""
    speeds: dict[tuple[str, str], list[Speed]] = {}
    for translator in translators.values():
        measure(translator, texts[:8], replace(translator.settings, beam_size=1, n_best=1))  # compiles
    for _ in range(REPEATS):
        for name, translator in translators.items():
            for search, beam in BEAMS.items():
                settings = replace(translator.settings, beam_size=beam, n_best=1)
                speeds.setdefault((name, search), []).append(measure(translator, texts, settings))
    results: dict[str, dict[str, Any]] = {
        name: {"mapping": translator.mapping.function.__name__} for name, translator in translators.items()
    }
    for (name, search), found in speeds.items():
        tokens, per_second, share = (median(values) for values in zip(*found, strict=True))
        results[name][search] = {
            "tokens": tokens,
            "tokens_per_second": round(per_second, 1),
            "mapping_share": round(share, 4),
        }
    return results


def table(history: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The results in Markdown."""
    heads, rows = ["mapping"], [[run["mapping"]] for run in results.values()]
    for search in BEAMS:
        heads += [f"{search}, tokens/s", f"{search}, in the mapping"]
        for row, run in zip(rows, results.values(), strict=True):
            speed = run[search]
            row += [f"{speed['tokens_per_second']:,.0f}", f"{100 * speed['mapping_share']:.1f} %"]
    intro = (
        f"{history['sentences']:,} sentences in batches of 64, {history['threads']} CPU threads, float32; "
        f"medians of {REPEATS} passes in which the runs took turns; tokens of outputs, their ends counted."
    )
    return f"# Speed of decoding\n\n{intro}\n\n{markdown(heads, rows)}\n"


if __name__ == "__main__":
    cli.main(lambda: decoding(sys.argv[1:]))
