"""Calls side by side: all take turns within one process, so that a slow minute slows all of them."""

from __future__ import annotations

import gc
import platform
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.training.provenance import available_cores

Call = Callable[[], object]
Timer = Callable[[Call], float]
POOL = 5


def time_on_cpu(call: Call) -> float:
    """Seconds by the wall clock; a call has ended when it returns."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def time_on_cuda(call: Call) -> float:
    """Seconds by events on the device's own stream: waiting on the host does not count."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1e3


TIMERS: dict[str, Timer] = {"cpu": time_on_cpu, "cuda": time_on_cuda}


class Rounds(NamedTuple):
    """How many rounds there are.

    Args:
        budget: seconds to share among the candidates.
        least: rounds of the baseline and of those to be timed thoroughly, whatever they take.
        least_others: rounds of everyone else.
        most: rounds at which more would teach nothing.
    """

    budget: float
    least: int = 11
    least_others: int = 3
    most: int = 101


def time_interleaved(
    candidates: Mapping[str, Sequence[Call]],
    timer: Timer,
    rounds: Rounds,
    *,
    baseline: str,
    thorough: Iterable[str] = (),
) -> dict[str, dict[int, float]]:
    """Time the candidates in rounds in which they take turns.

    Args:
        candidates: for each name its calls, one for each input of the pool; the same inputs for all.
        timer: of the device.
        rounds: how many.
        baseline: the name that takes part in every round.
        thorough: names that take part in at least ``rounds.least``.

    Returns:
        For each name the seconds of the rounds that it took part in, by the round's number.
    """
    thorough = {*thorough, baseline}
    wanted = {}
    for name, calls in candidates.items():
        affordable = int(rounds.budget / len(candidates) / max(_warm_up(calls, timer), 1e-9))
        least = rounds.least if name in thorough else rounds.least_others
        wanted[name] = max(least, min(affordable, rounds.most))
    total = wanted[baseline] = max(wanted.values())
    takes_part = {name: {k * total // count for k in range(count)} for name, count in wanted.items()}
    seconds: dict[str, dict[int, float]] = {name: {} for name in candidates}
    # Seeded, and its own: neither who runs after whom nor which input comes next may follow a pattern.
    rng = random.Random(total)
    collects_garbage = gc.isenabled()
    gc.disable()
    try:
        for number in range(total):
            running = [name for name in candidates if number in takes_part[name]]
            rng.shuffle(running)
            which = rng.random()
            for name in running:
                calls = candidates[name]
                seconds[name][number] = timer(calls[int(which * len(calls))])
    finally:
        if collects_garbage:
            gc.enable()
    return seconds


def summarize(seconds: Mapping[int, float], baseline: Mapping[int, float]) -> dict[str, Any]:
    """Median and quartiles of the seconds, and of the ratios to the baseline in the same rounds."""
    ratios = [seconds[number] / baseline[number] for number in sorted(seconds.keys() & baseline.keys())]
    times = list(seconds.values())
    return {
        "seconds": median(times),
        "seconds_quartiles": _quartiles(times),
        "ratio": median(ratios),
        "ratio_quartiles": _quartiles(ratios),
        "rounds": len(times),
    }


def draw_inputs(
    rows: int, d: int, scale: float, dtype: torch.dtype, device: torch.device, pool: int = POOL
) -> list[tuple[Tensor, Tensor]]:
    """A pool of scores (leaves) and gradients: fresh data for the branch predictor and the caches."""
    rng = torch.Generator().manual_seed(rows + 31 * d)
    pairs = []
    for _ in range(pool):
        scores = torch.randn(rows, d, generator=rng) * scale
        gradient = torch.randn(rows, d, generator=rng)
        pairs.append((scores.to(device, dtype).requires_grad_(), gradient.to(device, dtype)))
    return pairs


def moved_bytes(rows: int, d: int, dtype: torch.dtype, direction: str) -> int:
    """Bytes that any mapping must read and write.

    Forward: scores in, weights out. Backward: weights and their gradient in, the scores' gradient out.
    """
    return rows * d * dtype.itemsize * (2 if direction == "forward" else 5)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch, and with it our kernels, use ``count`` CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures are taken on."""
    cores = available_cores()
    if device.type == "cuda":
        name, cuda = torch.cuda.get_device_name(), torch.version.cuda
        return {"kind": "cuda", "name": name, "cores": cores, "cuda": cuda}
    return {"kind": "cpu", "name": _processor(), "cores": cores}


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    named = re.search(r"^model name\s*: (.+)", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _warm_up(calls: Sequence[Call], timer: Timer) -> float:
    """Compile, fault pages in, and say how long a call takes: the last of two, or a slow one at once."""
    calls[0]()  # compiles, where something is compiled on its first call
    first = timer(calls[0])
    return first if first > 0.1 else timer(calls[-1])


def _quartiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, (0.25, 0.75)).tolist()
