"""Calls side by side: all take turns within one process, so that a slow minute slows all of them."""

from __future__ import annotations

import gc
import platform
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.training.provenance import available_cores

Call = Callable[[], object]
Timer = Callable[[Sequence[Call], float], float]
"""Seconds of a call, out of calls on a pool of inputs and a number in [0, 1) that chooses one of them."""

POOL, LARGEST_POOL = 5, 16


def time_on_cpu(calls: Sequence[Call], at: float) -> float:
    """Seconds of one of the calls by the wall clock; it has ended when it returns."""
    call = calls[int(at * len(calls))]
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def time_on_host(calls: Sequence[Call], at: float) -> float:
    """Seconds until one of the calls has been handed to an idle CUDA device."""
    torch.cuda.synchronize()
    return time_on_cpu(calls, at)


def time_on_cuda(calls: Sequence[Call], at: float) -> float:
    """Seconds of a call on the device: all of them are replayed as one CUDA graph, without the host.

    They work on different inputs, which together are larger than the cache. What cannot be captured,
    because it looks at numbers on the way, is called between two events, and waits for the host then.
    """
    graph = _captured(calls)
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    if graph is not None:
        graph.replay()
    else:
        for call in calls:
            call()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1e3 / len(calls)


TIMERS: dict[str, Timer] = {"cpu": time_on_cpu, "cuda": time_on_cuda}


def _captured(calls: Sequence[Call]) -> Any:
    """The graph of the calls, kept with the first of them; None if they cannot be captured."""
    first: Any = calls[0]
    if not hasattr(first, "graph"):
        first.graph = _capture(calls)
    return first.graph


def _capture(calls: Sequence[Call]) -> Any:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is set up on a first call must be before the capture
        calls[0]()
    torch.cuda.current_stream().wait_stream(stream)
    try:
        with torch.cuda.graph(graph, pool=_graph_pool()):
            for call in calls:
                call()
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    return graph


@cache
def _graph_pool() -> Any:
    """One pool of memory for all graphs: none runs while another does, and nobody reads their results."""
    return torch.cuda.graph_pool_handle()


class Rounds(NamedTuple):
    """How many rounds there are."""

    budget: float  # seconds to share among the candidates
    least: int = 11  # of the baseline and of those to be timed thoroughly
    least_others: int = 3  # of everyone else
    most: int = 101  # more would teach nothing


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
        rounds: how many; the ``baseline`` takes part in every one, ``thorough`` names in ``rounds.least``.

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
            at = rng.random()
            for name in running:
                seconds[name][number] = timer(candidates[name], at)
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
    rows: int, d: int, scale: float, dtype: torch.dtype, device: torch.device, pool: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """A pool of scores (leaves) and gradients: fresh data for the branch predictor and the caches."""
    if pool is None:
        cache = torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 0
        pool = pool_size(rows * d * dtype.itemsize, cache)
    rng = torch.Generator().manual_seed(rows + 31 * d)
    pairs = []
    for _ in range(pool):
        scores = torch.randn(rows, d, generator=rng) * scale
        gradient = torch.randn(rows, d, generator=rng)
        pairs.append((scores.to(device, dtype).requires_grad_(), gradient.to(device, dtype)))
    return pairs


def pool_size(of_one: int, cache: int) -> int:
    """How many inputs of so many bytes are twice as large as a cache; at least ``POOL``.

    Example:
        >>> pool_size(2**20, 0), pool_size(2**23, 50 * 2**20), pool_size(2**10, 50 * 2**20)
        (5, 13, 16)
    """
    return min(LARGEST_POOL, max(POOL, -(-2 * cache // of_one)))


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
    """Compile, fault pages in, and say how long a round takes: the second, or a slow one at once."""
    calls[0]()  # compiles, where something is compiled on its first call
    together = len(calls) if timer is time_on_cuda else 1
    first = timer(calls, 0.0) * together
    return first if first > 0.1 else timer(calls, 0.999) * together


def _quartiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, (0.25, 0.75)).tolist()
