"""What is measured: the sections of a benchmark, each over a list of places."""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regattn._registry import MAPPINGS
from scripts.bench.implementations import (
    BASELINE,
    IMPLEMENTATIONS,
    OURS,
    Calls,
    Implementation,
    candidates,
    check_agreement,
    error_of,
    our_function,
    worst,
)
from scripts.bench.timing import (
    TIMERS,
    Call,
    Rounds,
    Timer,
    draw_inputs,
    summarize,
    threads,
    time_interleaved,
    time_on_host,
)
from tasks.training.provenance import available_cores

Section = dict[str, Any]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DIRECTIONS = ("forward", "both")
NO_TIME = "no time was left"
_TURNS = 5  # of each number of threads
_BATCH = 32  # sentences of a training step
_M_MMAP_THRESHOLD = -3  # of malloc.h
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
MEMORY_METHOD = {
    "cpu": "largest resident set of a process of its own during a call, less the one before it, largest of "
    "three calls after one to warm up; the scores and the gradient given are not counted",
    "cuda": "torch's own peak of allocated memory during one call, less what was allocated before it",
}


FULL_ROUNDS, FULL_TURN = Rounds(1.5), Rounds(0.3)


@dataclass(frozen=True)
class BenchConfig:
    """One run of the benchmark: where, with how many threads, and how much."""

    device: torch.device = CPU
    threads: tuple[int, ...] = (1, 2)
    shapes: tuple[tuple[int, int], ...] = (
        (64, 20), (640, 50), (3200, 50), (4096, 128), (4096, 512), (1024, 2048),
    )  # fmt: skip
    scales: tuple[float, ...] = (1.0, 3.0)  # of the scores, which are normal numbers times the scale
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    lengths: tuple[int, ...] = tuple(2**k for k in range(3, 15))  # scores per row in the section on it
    elements: int = 2**18  # scores in each batch of that section
    strengths: tuple[float, ...] = (0.0, *(10 ** (k / 2) for k in range(-8, 3)))  # λ in the section on it
    strengths_shape: tuple[int, int] = (4096, 128)
    adversarial: tuple[int, int] = (4, 16384)
    memory: tuple[int, int] = (4096, 512)
    memory_implementations: int = 99  # at most
    steps: int = 101  # of training
    overrides: tuple[str, ...] = ()  # of the config of training
    rounds: Rounds = FULL_ROUNDS
    turn: Rounds = FULL_TURN  # rounds of a turn in the section on threads
    host: tuple[int, int] | None = None  # the shape in the section on the host's time
    seconds: float = math.inf  # after which nothing more is begun
    deadline: float = math.inf  # by time.monotonic()

    @property
    def timer(self) -> Timer:
        return TIMERS[self.device.type]

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.deadline


CONFIGS = {
    "cpu": BenchConfig(),
    "cuda": BenchConfig(
        CUDA,
        (1,),  # it does not care, and each number would repeat every cell
        shapes=((4096, 512), (65536, 64), (262144, 128), (4096, 4096)),
        dtypes=(torch.float32, torch.bfloat16),
        lengths=tuple(2**k for k in range(3, 14)),  # no kernel takes longer rows
        elements=2**24,
        strengths_shape=(65536, 128),
        adversarial=(256, 8192),
        rounds=Rounds(0.5, least=5),
        host=(64, 64),
        seconds=420.0,
    ),
}


def quick(config: BenchConfig) -> BenchConfig:
    """So little of everything that it only shows that everything runs."""
    return replace(
        config,
        shapes=((16, 8), (32, 20)),
        dtypes=(torch.float32,),
        lengths=(8, 16, 32),
        elements=256,
        strengths=(0.0, 0.1, 1.0),
        strengths_shape=(16, 16),
        adversarial=(2, 64),
        memory=(256, 256),
        memory_implementations=3,
        steps=3,
        overrides=("data.train=96", "data.dev=30", "data.test=30", "task.hidden_size=16"),
        rounds=Rounds(0.02, least=3, least_others=2, most=5),
        turn=Rounds(0.0, least=2, most=2),
    )


class Place(NamedTuple):
    """Scores of one kind; ``label`` names them in the agreement."""

    label: str
    rows: int
    d: int
    scale: float = 1.0
    dtype: torch.dtype = torch.float32
    lam: float | None = None


def shapes(config: BenchConfig) -> Section:
    """Every shape, scale, dtype, direction and number of threads."""
    places = [
        Place(f"{rows}×{d}, scale {scale:g}, {_name(dtype)}", rows, d, scale, dtype)
        for dtype in config.dtypes
        for rows, d in config.shapes
        for scale in config.scales
    ]
    return _time_places(config, places, IMPLEMENTATIONS, config.threads, DIRECTIONS)


def length(config: BenchConfig) -> Section:
    """Forward and backward of about equally many scores, in rows of any length; one thread, scale 1."""
    places = [Place(f"d = {d}", max(8, config.elements // d), d) for d in config.lengths]
    return _time_places(config, places, IMPLEMENTATIONS)


def strength(config: BenchConfig) -> Section:
    """Forward and backward of the mappings with a λ; one thread, scale 1."""
    places = [Place(f"λ = {lam:g}", *config.strengths_shape, lam=lam) for lam in config.strengths]
    with_lam = {name for name, spec in MAPPINGS.items() if "lam" in spec.defaults}
    chosen = [i for i in IMPLEMENTATIONS if i.kind in ("baseline", "memcpy") or i.mapping in with_lam]
    return _time_places(config, places, chosen)


def _time_places(
    config: BenchConfig,
    places: Iterable[Place],
    implementations: Sequence[Implementation],
    counts: Sequence[int] = (1,),
    directions: Sequence[str] = ("both",),
    timer: Timer | None = None,
) -> Section:
    """Time everyone at each place, after a look at whether they agree."""
    found: dict[tuple[torch.dtype, float | None], list[Implementation]] = {}
    skipped: dict[str, dict[str, str]] = {}
    checks: dict[str, list[dict[str, Any]]] = {}
    cells = []
    for label, rows, d, scale, dtype, lam in places:
        if config.is_over:
            skipped[label] = {f"everything at {label}": NO_TIME}
            continue
        if (dtype, lam) not in found:
            at = _name(dtype) if lam is None else label
            found[dtype, lam], skipped[at] = candidates(config.device, dtype, implementations, lam)
        here = found[dtype, lam]
        inputs = draw_inputs(rows, d, scale, dtype, config.device)
        for name, check in check_agreement(here, *inputs[0], label).items():
            checks.setdefault(name, []).append(check)
        thorough = [i.name for i in here if i.kind != "other"]
        for count, direction in product(counts, directions):
            with threads(count):
                seconds = time_interleaved(
                    _calls(here, inputs, direction), timer or config.timer, config.rounds,
                    baseline=BASELINE, thorough=thorough,
                )  # fmt: skip
            cell = {"rows": rows, "d": d, "dtype": _name(dtype), "scale": scale}
            cell |= {"threads": count, "direction": direction, **({} if lam is None else {"lam": lam})}
            results = {name: summarize(times, seconds[BASELINE]) for name, times in seconds.items()}
            cells.append({**cell, "results": results})
    agreement = {name: worst(several) for name, several in checks.items()}
    return _section(cells, chain.from_iterable(found.values()), skipped, agreement)


def _calls(
    implementations: Iterable[Implementation], inputs: Sequence[tuple[Tensor, Tensor]], direction: str
) -> dict[str, list[Call]]:
    """For each implementation a call for each pair of scores and gradient."""
    return {i.name: [getattr(i.bind(*pair), direction) for pair in inputs] for i in implementations}


def _section(
    cells: list[Section],
    implementations: Iterable[Implementation],
    skipped: dict[str, dict[str, str]],
    agreement: dict[str, dict[str, Any]] | None = None,
) -> Section:
    """The cells, who took part in any of them, and who was missing from which."""
    described = {i.name: {"kind": i.kind, "mapping": i.mapping, "note": i.note} for i in implementations}
    return {
        "implementations": described,
        "skipped": {
            name if name not in described else f"{name} at {at}": reason
            for at, reasons in skipped.items()
            for name, reason in reasons.items()
        },
        "agreement": agreement or {},
        "cells": cells,
    }


def scaling(config: BenchConfig) -> Section:
    """Forward and backward with each number of threads, ours and PyTorch's own; scale 1.

    Every number of threads has its turn several times; within a turn all take turns, so that everyone finds
    the caches as others leave them and PyTorch's threads as awake as its own operators do.
    """
    counts = config.threads if len(config.threads) > 1 else ()
    own = [i for i in IMPLEMENTATIONS if i.kind != "other"]
    found, skipped = candidates(config.device, torch.float32, own)
    cells = []
    for rows, d in config.shapes if counts else ():
        calls = _calls(found, draw_inputs(rows, d, 1.0, torch.float32, config.device), "both")
        times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for _ in range(_TURNS):
            for count in counts:
                with threads(count):
                    turn = time_interleaved(
                        calls, config.timer, config.turn, baseline=BASELINE, thorough=calls
                    )
                for name, seconds in turn.items():
                    times[name, count] += seconds.values()
        results = {
            name: {str(n): {"seconds": median(times[name, n]), "rounds": len(times[name, n])} for n in counts}
            for name in calls
        }
        cells.append({"rows": rows, "d": d, "dtype": "float32", "results": results})
    return _section(cells, found, {"float32": skipped})


def adversarial(config: BenchConfig) -> Section:
    """Long rows made to be hard, as time over that of random rows of the same shape; forward, one thread."""
    rows, d = config.adversarial
    found, skipped = candidates(config.device, torch.float32, IMPLEMENTATIONS)
    batches = {kind: scores.to(config.device) for kind, scores in hard_rows(rows, d).items()}
    cells = []
    for implementation in found:
        if not implementation.mapping:
            continue
        if config.is_over:
            skipped[f"the rest from {implementation.name}"] = NO_TIME
            break
        calls = {kind: implementation.bind(x, torch.ones_like(x)).forward for kind, x in batches.items()}
        alone = {kind: [call] for kind, call in calls.items()}
        with threads(1):
            seconds = time_interleaved(alone, config.timer, config.rounds, baseline="random", thorough=calls)
        results = {
            kind: {
                **summarize(seconds[kind], seconds["random"]),
                # Of one row, since the certificate is quadratic in d for fusedmax.
                **error_of(implementation, batches[kind][:1], call()[:1]),
            }
            for kind, call in calls.items()
        }
        cells.append({"rows": rows, "d": d, "implementation": implementation.name, "results": results})
    return _section(cells, found, {"float32": skipped})


def hard_rows(rows: int, d: int) -> dict[str, Tensor]:
    """Scores on which a solver may be slow, at λ = 0.1; and random ones."""
    rng = torch.Generator().manual_seed(d)
    noise = torch.randn(rows, d, generator=rng)
    ascending = noise.sort(-1).values
    sign = torch.where(torch.arange(d) % 2 == 0, 1.0, -1.0).expand(rows, d)
    # Condat's algorithm looks ahead until its tube of width 2λ is left, and returns to the last touch: on
    # a ramp this gentle it looks about d/4 ahead for each score that it settles, quadratic in all.
    ramp = torch.arange(d).expand(rows, d) * (16 * 0.1 / (d / 4) ** 2)
    return {
        "random": noise,
        "all within 1 + 4λ": torch.rand(rows, d, generator=rng) * 1.4,
        "ascending": ascending,
        "descending": ascending.flip(-1).contiguous(),
        "alternating": sign.contiguous(),
        "gentle ramp": ramp.contiguous(),
        "all equal": torch.zeros(rows, d),
    }


def memory(config: BenchConfig) -> Section:
    """Bytes per score of forward and backward, float32, one thread, each in a process of its own."""
    rows, d = config.memory
    found, skipped = candidates(config.device, torch.float32, IMPLEMENTATIONS)
    found = [i for i in found if i.kind != "memcpy"][: config.memory_implementations]
    results = {}
    for name in (i.name for i in found):
        if config.is_over:
            skipped[f"the rest from {name}"] = NO_TIME
            break
        if config.device.type == "cuda":  # whose allocator can tell by itself
            peak = peak_bytes(name, "cuda", rows, d)
        else:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                peak = process.submit(peak_bytes, name, config.device.type, rows, d).result()
        results[name] = {"bytes_per_score": peak / (rows * d)}
    cell = {"rows": rows, "d": d, "dtype": "float32", "direction": "both", "results": results}
    return {"method": MEMORY_METHOD[config.device.type], **_section([cell], found, {"float32": skipped})}


def peak_bytes(name: str, device: str, rows: int, d: int) -> int:
    """Measure one implementation in this process, which is new."""
    if sys.platform == "linux":
        fix_malloc_threshold()
    torch.set_num_threads(1)
    only = [i for i in IMPLEMENTATIONS if i.name == name]
    (implementation,), _ = candidates(torch.device(device), torch.float32, only)
    ((scores, gradient),) = draw_inputs(rows, d, 1.0, torch.float32, torch.device(device), pool=1)
    calls = implementation.bind(scores, gradient)
    calls.both()
    return max(peak_of_a_call(calls, scores) for _ in range(3))


def fix_malloc_threshold() -> None:
    """Let blocks go back to the system from now on, so that a freed one cannot hide the next."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 65536)


def peak_of_a_call(calls: Calls, scores: Tensor) -> int:
    """Bytes that forward and backward need at once, beyond what was there before."""
    scores.grad = None
    gc.collect()
    time.sleep(0.1)  # some packages give memory back in another thread
    if scores.is_cuda:
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


def training(config: BenchConfig) -> Section:
    """What a mapping adds to training the SNLI model: whole updates on the same batches; one thread."""
    calls: dict[str, list[Call]] = {}
    skipped: dict[str, str] = {}
    for mapping in OURS:
        if config.is_over:
            skipped[f"regattn.{mapping}"] = NO_TIME
            continue
        try:
            steps = _training_steps(mapping, config)
            steps[0]()
        except (ValueError, ModuleNotFoundError) as error:  # a device without kernels, the suite is missing
            skipped[f"regattn.{mapping}"] = str(error)
        else:
            calls[f"regattn.{mapping}"] = steps
    baseline = "regattn.softmax"
    cells = []
    if baseline in calls:
        rounds = Rounds(0.0, least=config.steps, most=config.steps)
        with threads(1):
            seconds = time_interleaved(calls, config.timer, rounds, baseline=baseline, thorough=calls)
        results = {name: summarize(times, seconds[baseline]) for name, times in seconds.items()}
        cells = [{"threads": 1, "results": results}]
    found = [i for i in IMPLEMENTATIONS if i.name in calls]
    return {"baseline": baseline, "batch": _BATCH, **_section(cells, found, {"float32": skipped})}


def host(config: BenchConfig) -> Section:
    """What the host takes until a forward and backward pass is on its way to an idle device."""
    places = [Place("the host", *config.host)] if config.host else []
    own = [i for i in IMPLEMENTATIONS if i.kind != "other"]
    return _time_places(config, places, own, timer=time_on_host)


def precompile(config: BenchConfig, chosen: Iterable[str], timeout: float = 150.0) -> None:
    """Compile our kernels for the sizes to come side by side, into the cache on disk, and leave late ones."""
    lengths = {
        "shapes": {d for _, d in config.shapes},
        "length": {*config.lengths},
        "strength": {config.strengths_shape[1]},
        "adversarial": {config.adversarial[1]},
    }
    sizes = set[int]().union(*(lengths.get(name, ()) for name in chosen))
    jobs = product(OURS, sorted(sizes, reverse=True), config.dtypes)
    pool = ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn"))
    with suppress(TimeoutError):  # the rest is compiled where it is timed
        deque(pool.map(_compile, *zip(*jobs, strict=True), timeout=timeout), maxlen=0)
    pool.shutdown(cancel_futures=True)


def _compile(mapping: str, d: int, dtype: torch.dtype) -> None:
    scores = torch.randn(8, d, device="cuda", dtype=dtype, requires_grad=True)
    with suppress(Exception):  # it is told where it is timed
        our_function(mapping)(scores).sum().backward()


def _training_steps(mapping: str, config: BenchConfig) -> list[Call]:
    """An update for each of some batches; the model trains on from one to the next."""
    overrides = [f"attention={mapping}", f"task.batch_size={_BATCH}", f"trainer.device={config.device.type}"]
    # here, since all other sections need nothing but torch and regattn
    from scripts.runs.config import read_config
    from scripts.runs.setup import set_up
    from tasks.training.fit import train_step

    setup = set_up(read_config([*overrides, *config.overrides]))
    torch.manual_seed(setup.config.seed)
    batches = setup.task.train_batches(1)[: min(config.steps, 32)]
    optimizer, _ = setup.optim.build(setup.task.model.parameters(), total_steps=len(batches))
    return [
        partial(train_step, setup.task, optimizer, batch, clip_norm=None, where="the benchmark")
        for batch in batches
    ]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


SECTIONS: dict[str, Callable[[BenchConfig], Section]] = {
    section.__name__: section
    for section in (shapes, scaling, length, strength, adversarial, memory, training, host)
}
