"""Calls side by side: everyone takes turns within one process, so that a slow minute slows all."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scripts.bench.clock import Clock

Work = Callable[[], object]
POOL = 5
LEAST, LEAST_PEER, MOST = 11, 3, 101


class Pace(NamedTuple):
    """How long a race may take.

    Args:
        budget: seconds to share among the contestants.
        least: rounds of ours and of the unit, whatever they take.
        least_peer: rounds of everyone else.
        most: rounds at which more would teach nothing.
    """

    budget: float
    least: int = LEAST
    least_peer: int = LEAST_PEER
    most: int = MOST


def race(
    works: Mapping[str, Sequence[Work]], clock: Clock, pace: Pace, *, keen: Iterable[str], unit: str
) -> dict[str, dict[int, float]]:
    """Time everyone in turns.

    Args:
        works: for each name its calls, one for each input of the pool; the same inputs for all.
        clock: of the device.
        pace: how many rounds.
        keen: names that run at least ``pace.least`` rounds.
        unit: the name that runs in every round.

    Returns:
        For each name the seconds of the rounds that it took part in.
    """
    keen = {*keen, unit}
    estimates = {name: _warm_up(calls, clock) for name, calls in works.items()}
    wanted = {
        name: _clamp(
            int(pace.budget / len(works) / max(seconds, 1e-9)),
            pace.least if name in keen else pace.least_peer,
            pace.most,
        )
        for name, seconds in estimates.items()
    }
    rounds = max(wanted.values())
    wanted[unit] = rounds
    turns = {name: {k * rounds // count for k in range(count)} for name, count in wanted.items()}
    seconds: dict[str, dict[int, float]] = {name: {} for name in works}
    # Seeded, and its own: neither who runs after whom nor which input comes next may follow a pattern.
    dice = random.Random(rounds)
    with _no_collection():
        for number in range(rounds):
            racing = [name for name in works if number in turns[name]]
            dice.shuffle(racing)
            choice = dice.random()
            for name in racing:
                calls = works[name]
                seconds[name][number] = clock.seconds(calls[int(choice * len(calls))])
    return seconds


def summarize(seconds: Mapping[int, float], unit: Mapping[int, float]) -> dict[str, Any]:
    """Median and quartiles of the seconds, and of the ratios to the unit in the same rounds."""
    shared = [seconds[number] / unit[number] for number in sorted(seconds.keys() & unit.keys())]
    times = list(seconds.values())
    return {
        "seconds": median(times),
        "seconds_quartiles": _quartiles(times),
        "ratio": median(shared),
        "ratio_quartiles": _quartiles(shared),
        "rounds": len(times),
    }


def draw(
    rows: int, d: int, scale: float, dtype: torch.dtype, device: torch.device, pool: int = POOL
) -> list[tuple[Tensor, Tensor]]:
    """A pool of scores (leaves) and gradients: fresh data for the branch predictor and the caches."""
    dice = torch.Generator().manual_seed(rows + 31 * d)
    pairs = []
    for _ in range(pool):
        scores = torch.randn(rows, d, generator=dice) * scale
        gradient = torch.randn(rows, d, generator=dice)
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


def _warm_up(calls: Sequence[Work], clock: Clock) -> float:
    """Compile, fault pages in, and say how long a call takes: the last of two, or a slow one at once."""
    calls[0]()  # compiles, where something is compiled on its first call
    first = clock.seconds(calls[0])
    return first if first > 0.1 else clock.seconds(calls[-1])


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _quartiles(values: Sequence[float]) -> list[float]:
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return [low, high]


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
