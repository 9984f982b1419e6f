"""What training costs on a busy machine: `make bench-busy`.

OpenMP's threads wait for each other after each operator, by default awake: beside processes that keep every
processor busy they take from each other what they wait for. So all commands set ``OMP_WAIT_POLICY=passive``
(scripts/__init__.py). A short epoch of a small model in two threads, under both policies, takes turns with
one in a single thread that stays on its processor; medians and ratios go to results/bench/busy.json.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from scripts import cli
from tasks.data.files import write_json_atomically
from tasks.training.provenance import commit, versions

RESULT = Path("results/bench/busy.json")
ROOT = Path(__file__).resolve().parents[2]
ROUNDS, OTHERS = 2, 8
SETTINGS = {
    "one pinned thread": {"OMP_NUM_THREADS": "1", "OMP_PROC_BIND": "true"},
    "two threads, passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "two threads, active": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"},
}
EPOCH = ("task=snli", "attention=fusedmax", "data=snli/mini", "debug=tiny", "trainer.max_steps=15")


def seconds_of_an_epoch(environment: dict[str, str], folder: Path) -> float:
    """Wall time of a run of one epoch, its start included."""
    command = [sys.executable, "-m", "scripts.train", *EPOCH]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure() -> dict[str, list[float]]:
    """Seconds by setting, in turns."""
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(ROUNDS):
        for name, environment in SETTINGS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(seconds_of_an_epoch(environment, Path(folder)))
            print(f"{name}: {found[name][-1]:.1f} s", flush=True)
    return found


def main() -> None:
    """Measure beside processes that do nothing but keep the processors busy, and write what was found."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(OTHERS)]
    try:
        found = {name: median(several) for name, several in measure().items()}
    finally:
        for other in others:
            other.kill()
    baseline = found["one pinned thread"]
    ratios = {name: seconds / baseline for name, seconds in found.items()}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} × one pinned thread")
    result = {"others": OTHERS, "rounds": ROUNDS, "seconds": found, "ratios": ratios}
    write_json_atomically(RESULT, {**result, "commit": commit(), "versions": versions()})


if __name__ == "__main__":
    cli.main(main)
