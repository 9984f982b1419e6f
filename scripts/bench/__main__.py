"""`make bench DEVICE=… ONLY=… THREADS=… QUICK=1`, and `python -m scripts.bench render [FILE …]`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from scripts import cli
from scripts.bench import memory, sections, training
from scripts.bench.clock import clock_for
from scripts.bench.peers import PEERS
from scripts.bench.plan import Course, plan_for
from scripts.bench.render import render
from scripts.bench.words import fault
from tasks.data.files import read_whole
from tasks.training.provenance import commit, versions
from tasks.training.records import write_json_atomically
from tasks.training.signals import Preempted

RESULTS, TRIALS = Path("results/bench"), Path("runs/bench")
SECTIONS: dict[str, Callable[[Course], dict[str, Any]]] = {
    "shapes": sections.shapes,
    "scaling": sections.scaling,
    "length": sections.length,
    "strength": sections.strength,
    "adversarial": sections.adversarial,
    "memory": memory.memory,
    "training": training.training,
}
# Seconds of a section (of shapes: for each number of threads), seen on two cores of a server.
ESTIMATES = {
    "shapes": 140,
    "scaling": 40,
    "length": 75,
    "strength": 65,
    "adversarial": 40,
    "memory": 60,
    "training": 25,
}


def bench(arguments: Sequence[str]) -> Path:
    """Measure what the options ask for and return the JSON that holds it.

    Every section is written as soon as it is measured: an interruption leaves the earlier ones, and for
    the others what was there before. A quick look goes to runs/, where it replaces no result.
    """
    options = _options(arguments)
    chosen = _listed("ONLY", options.only, SECTIONS)
    clock = clock_for(options.device)
    course = Course(clock, plan_for(options.device, options.quick), _threads(options))
    path = (TRIALS if options.quick else RESULTS) / f"{options.device}.json"
    _announce(chosen, course, options.quick, path)
    _read(path)  # a file that cannot be read had better say so now
    for name in chosen:
        begun, load = time.perf_counter(), os.getloadavg()[0]
        try:
            found = SECTIONS[name](course)
        except KeyboardInterrupt:
            print(f"\nstopped in {name}; {path} keeps what was measured before, see render", file=sys.stderr)
            sys.exit(Preempted.exit_code)
        seconds = time.perf_counter() - begun
        history = {**_history(arguments, course), "seconds": round(seconds, 1), "load": round(load, 2)}
        _store(path, name, {"history": history, **found})
        print(f"{name}: {seconds:.0f} s", flush=True)
        for contestant, reason in found["skipped"].items():
            print(f"{name}: without {contestant}: {reason}", file=sys.stderr)
        for contestant, row in found.get("agreement", {}).items():
            if not row["agrees"]:
                print(f"{name}: {contestant} is {fault(row)}", file=sys.stderr)
    return path


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between them")
    parser.add_argument("--threads", default="1,2", help="numbers of CPU threads, with commas between them")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    return parser.parse_args(arguments)


def _listed(option: str, text: str, known: dict[str, Any]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise cli.UsageError(f"{option} must be among {', '.join(known)}, got {word!r}")
    return words


def _threads(options: argparse.Namespace) -> tuple[int, ...]:
    words = [word.strip() for word in options.threads.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= 1024 for word in words):
        raise cli.UsageError(f"THREADS must be numbers of at least 1 such as 1,2, got {options.threads!r}")
    # A GPU does not care, and each number would repeat every cell.
    return tuple(map(int, words)) if options.device == "cpu" else (1,)


def _announce(chosen: Sequence[str], course: Course, quick: bool, path: Path) -> None:
    plan, machine = course.plan, course.clock.machine()
    seconds = {name: ESTIMATES[name] * (len(course.threads) if name == "shapes" else 1) for name in chosen}
    print(f"on {machine['name']}, {machine['cores']} cores; to {path}")
    if "shapes" in chosen:
        sizes = ", ".join(f"{rows}×{d}" for rows, d in plan.shapes)
        threads = " and ".join(map(str, course.threads))
        print(f"shapes {sizes}; scales {plan.scales}; forward, and forward with backward; threads {threads}")
    if quick:
        print("a quick look, under a minute: no figure of it means anything", flush=True)
    else:
        parts = ", ".join(f"{name} {value} s" for name, value in seconds.items())
        print(f"about {max(1, round(sum(seconds.values()) / 60))} min with all peers: {parts}", flush=True)


def _history(arguments: Sequence[str], course: Course) -> dict[str, Any]:
    """Where a section's figures come from."""
    return {
        "commit": commit(),
        "command": shlex.join(["python", "-m", "scripts.bench", *arguments]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": course.clock.machine(),
        "threads": list(course.threads),
        "versions": {**versions(), **_peer_versions()},
    }


def _peer_versions() -> dict[str, str]:
    found = {}
    for package in sorted({peer.package for peer in PEERS} | {"jax"}):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_whole(path)) if path.exists() else {"sections": {}}
        content["sections"]
    except (KeyError, TypeError, ValueError) as error:
        raise cli.UsageError(f"{path} must be a benchmark's JSON, got {error!r}; move it away") from error
    return dict(content)


def _store(path: Path, name: str, section: dict[str, Any]) -> None:
    """Replace one section of the file; the others stay, each with its own history."""
    content = _read(path)
    content["sections"][name] = section
    write_json_atomically(path, content)


def main(arguments: Sequence[str]) -> None:
    """Measure and render, or render alone what was measured elsewhere."""
    if arguments[:1] == ["render"]:
        paths = [Path(word) for word in arguments[1:]] or sorted(RESULTS.glob("*.json"))
        if not paths:
            raise cli.UsageError(f"render needs a result, and {RESULTS} holds none")
    else:
        paths = [bench(arguments)]
    for path in paths:
        if not path.exists():
            raise cli.UsageError(f"render needs a result, got {path}, which does not exist")
        _read(path)
        print(render(path))


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
