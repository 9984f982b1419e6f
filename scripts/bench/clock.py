"""How long a call takes, for each kind of device."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from scripts.cli import UsageError


class Clock(Protocol):
    """What the benchmark has to know of a device."""

    device: torch.device

    def seconds(self, work: Callable[[], object]) -> float:
        """Run ``work`` to its end and return how long it took."""

    def machine(self) -> dict[str, Any]:
        """What the figures were taken on."""


class CpuClock:
    """Wall clock; a call has ended when it returns."""

    device = torch.device("cpu")

    def seconds(self, work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    def machine(self) -> dict[str, Any]:
        return {"kind": "cpu", "name": _processor(), "cores": len(_cores())}


class CudaClock:
    """Events on the device's own stream: launches are not counted twice, waiting on the host not at all."""

    device = torch.device("cuda")

    def seconds(self, work: Callable[[], object]) -> float:
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return begun.elapsed_time(ended) / 1e3

    def machine(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name()
        return {"kind": "cuda", "name": name, "cores": len(_cores()), "cuda": torch.version.cuda}


_CLOCKS: dict[str, Callable[[], Clock]] = {"cpu": CpuClock, "cuda": CudaClock}


def clock_for(kind: str) -> Clock:
    """Return the clock of a device.

    Raises:
        UsageError: there is no such kind of device, or none of it on this machine.
    """
    if kind not in _CLOCKS:
        raise UsageError(f"DEVICE must be one of {', '.join(_CLOCKS)}, got {kind!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("DEVICE=cuda needs a CUDA device, and torch finds none on this machine")
    return _CLOCKS[kind]()


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> set[int] | range:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
