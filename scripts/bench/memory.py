"""Peak memory of forward and backward, each contestant in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts import end_imports
from scripts.bench.contestants import assemble
from scripts.bench.peers import Calls
from scripts.bench.plan import Course
from scripts.bench.race import draw

METHOD = {
    "cpu": "largest resident set of a process of its own during a call, less the one before it, largest of "
    "three calls after one to warm up; the scores and the gradient given are not counted",
    "cuda": "torch's own peak of allocated memory during one call, less what was allocated before it",
}
_ROOT = Path(__file__).resolve().parents[2]
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def memory(course: Course) -> dict[str, Any]:
    """Bytes per score of forward and backward, float32, one thread."""
    rows, d = course.plan.memory
    field = assemble(course.device, torch.float32)
    asked = [c for c in field.contestants if c.origin != "floor"][: course.plan.memory_contestants]
    results = {}
    for contestant in asked:
        peak = _in_a_process(contestant.name, course.device.type, rows, d)
        results[contestant.name] = {"bytes_per_score": peak / (rows * d)}
    cell = {"rows": rows, "d": d, "dtype": "float32", "direction": "both", "results": results}
    contestants = {c.name: {"origin": c.origin, "family": c.family, "says": c.says} for c in asked}
    return {
        "contestants": contestants,
        "skipped": field.skipped,
        "method": METHOD[course.device.type],
        "cells": [cell],
    }


def peak_bytes(name: str, device: torch.device, rows: int, d: int) -> int:
    """Measure one contestant in this process."""
    torch.set_num_threads(1)
    contestant = next(c for c in assemble(device, torch.float32, name=name).contestants if c.name == name)
    ((scores, gradient),) = draw(rows, d, 1.0, torch.float32, device, pool=1)
    calls = contestant.bind(scores, gradient)
    calls.both()
    return max(_peak_of_a_call(calls, scores, device) for _ in range(3))


def _peak_of_a_call(calls: Calls, scores: Tensor, device: torch.device) -> int:
    scores.grad = None
    gc.collect()
    time.sleep(0.1)  # some packages give memory back in another thread
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        calls.both()
        return torch.cuda.max_memory_allocated() - before
    _CLEAR.write_text("5")  # the kernel's mark of the largest resident set starts again from here
    before = _status("VmRSS")
    calls.both()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _in_a_process(name: str, device: str, rows: int, d: int) -> int:
    # A threshold that stands still: blocks go back to the system, and a freed one cannot hide the next.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "scripts.bench.memory", name, device, str(rows), str(d)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=_ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"the memory of {name} could not be measured: {done.stderr.strip()[-500:]}")
    return int(json.loads(done.stdout.strip().split("\n")[-1]))


if __name__ == "__main__":
    end_imports()
    print(json.dumps(peak_bytes(sys.argv[1], torch.device(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
