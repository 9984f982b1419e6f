"""`make bench DEVICE=… ONLY=… THREADS=… QUICK=1`, and `python -m scripts.bench render [FILE …]`."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from scripts import cli
from scripts.bench.implementations import IMPLEMENTATIONS
from scripts.bench.render import disagreement, read_results, render
from scripts.bench.sections import CONFIGS, SECTIONS, BenchConfig, precompile, quick
from scripts.bench.timing import machine
from tasks.checks import counted
from tasks.data.files import write_json_atomically
from tasks.training.provenance import commit, versions
from tasks.training.signals import Preempted

RESULTS, TRIALS = Path("results/bench"), Path("runs/bench")


def bench(arguments: Sequence[str]) -> Path:
    """Measure what the options ask for and return the JSON that holds it.

    Every section is written as soon as it is measured: an interruption leaves the earlier ones, and for
    the others what was there before. A quick look goes to runs/, where it replaces no result.
    """
    options = _options(arguments)
    config, chosen = _config(options), _listed(options.only)
    path = (TRIALS if options.quick else RESULTS) / f"{options.device}.json"
    _announce(config, options.quick, path)
    read_results(path)  # a file that cannot be read had better say so now
    config = replace(config, deadline=time.monotonic() + config.seconds)
    if options.device == "cuda":
        precompile(config, chosen)
    for name in chosen:
        begun, load = time.perf_counter(), os.getloadavg()[0]
        try:
            found = SECTIONS[name](config)
        except KeyboardInterrupt:
            print(f"\nstopped in {name}; {path} keeps what was measured before, see render", file=sys.stderr)
            sys.exit(Preempted.exit_code)
        seconds = time.perf_counter() - begun
        history = {**_history(arguments, config), "seconds": round(seconds, 1), "load": round(load, 2)}
        # Replaced alone; the other sections stay, each with its own history.
        sections = {**read_results(path), name: {"history": history, **found}}
        write_json_atomically(path, {"sections": sections})
        print(f"{name}: {seconds:.0f} s", flush=True)
        for implementation, reason in found["skipped"].items():
            print(f"{name}: without {implementation}: {reason}", file=sys.stderr)
        for implementation, check in found.get("agreement", {}).items():
            if not check["agrees"]:
                print(f"{name}: {implementation} is {disagreement(check)}", file=sys.stderr)
    return path


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between them")
    parser.add_argument("--threads", default="1,2", help="numbers of CPU threads, with commas between them")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    return parser.parse_args(arguments)


def _config(options: argparse.Namespace) -> BenchConfig:
    if options.device not in CONFIGS:
        raise cli.UsageError(f"DEVICE must be one of {', '.join(CONFIGS)}, got {options.device!r}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise cli.UsageError("DEVICE=cuda needs a CUDA device, and torch finds none on this machine")
    counts = [count.strip() for count in options.threads.split(",")]
    if not all(count.isdecimal() and 1 <= int(count) <= 1024 for count in counts):
        raise cli.UsageError(f"THREADS must be numbers of at least 1 such as 1,2, got {options.threads!r}")
    config = CONFIGS[options.device]
    if options.device == "cpu":
        config = replace(config, threads=tuple(map(int, counts)))
    return quick(config) if options.quick else config


def _listed(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in SECTIONS:
            raise cli.UsageError(f"ONLY must be among {', '.join(SECTIONS)}, got {name!r}")
    return names


def _announce(config: BenchConfig, is_quick: bool, path: Path) -> None:
    found = machine(config.device)
    print(f"on {found['name']}, {counted(found['cores'], 'core')}; to {path}")
    if is_quick:
        print("a quick look, under a minute: no figure of it means anything", flush=True)
    elif config.seconds < math.inf:
        print(f"at most {(config.seconds + 60) / 60:.0f} min, compiling included", flush=True)
    else:
        print("about 10 min on two cores of a server, all sections with all other packages", flush=True)


def _history(arguments: Sequence[str], config: BenchConfig) -> dict[str, Any]:
    """Where a section's figures come from."""
    packages = {}
    for package in sorted({i.package for i in IMPLEMENTATIONS if i.package} | {"jax"}):
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "commit": commit(),
        "command": shlex.join(["python", "-m", "scripts.bench", *arguments]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(config.device),
        "threads": list(config.threads),
        "versions": {**versions(), **packages},
    }


def main(arguments: Sequence[str]) -> None:
    """Measure and render, or render alone what was measured elsewhere."""
    if arguments[:1] == ["render"]:
        measured = (RESULTS / f"{device}.json" for device in CONFIGS)
        paths = [Path(path) for path in arguments[1:]] or [path for path in measured if path.exists()]
        if not paths:
            raise cli.UsageError(f"render needs a result, and {RESULTS} holds none")
    else:
        paths = [bench(arguments)]
    for path in paths:
        if not path.exists():
            raise cli.UsageError(f"render needs a result, got {path}, which does not exist")
        print(render(path))


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
