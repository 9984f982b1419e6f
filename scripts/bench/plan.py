"""What is measured: shapes, strengths and rounds, in full and in a quick look."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from scripts.bench.clock import Clock
from scripts.bench.race import Pace


@dataclass(frozen=True)
class Plan:
    """The sizes of every section.

    Args:
        shapes: rows and scores per row.
        scales: of the scores, which are normal numbers times the scale.
        dtypes: of the scores.
        lengths: scores per row in the section that asks for growth.
        elements: scores in each batch of that section.
        strengths: λ in the section on it, and the shape there.
        adversarial: rows and scores per row of the adversarial section.
        memory: rows and scores per row of the memory section, and how many contestants are asked.
        steps: training steps of each mapping, and overrides of the default config.
        pace: rounds of a cell.
        turn: rounds of a turn in the section on threads.
    """

    shapes: tuple[tuple[int, int], ...] = (
        (64, 20), (640, 50), (3200, 50), (4096, 128), (4096, 512), (1024, 2048),
    )  # fmt: skip
    scales: tuple[float, ...] = (1.0, 3.0)
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    lengths: tuple[int, ...] = tuple(2**k for k in range(3, 15))
    elements: int = 2**18
    strengths: tuple[float, ...] = (0.0, *(10 ** (k / 2) for k in range(-8, 3)))
    strengths_shape: tuple[int, int] = (4096, 128)
    adversarial: tuple[int, int] = (4, 16384)
    memory: tuple[int, int] = (4096, 512)
    memory_contestants: int = 99
    steps: int = 101
    overrides: tuple[str, ...] = ()
    pace: Pace = field(default=Pace(1.5))
    turn: Pace = field(default=Pace(0.3))

    def rows(self, d: int) -> int:
        """How many rows of ``d`` scores make up a batch in the section on length."""
        return max(8, self.elements // d)


FULL = Plan()
CUDA = Plan(
    shapes=((4096, 512), (65536, 64), (262144, 128), (4096, 4096)),
    dtypes=(torch.float32, torch.bfloat16),
    elements=2**24,
    strengths_shape=(65536, 128),
    adversarial=(256, 16384),
)
QUICK = Plan(
    shapes=((16, 8), (32, 20)),
    lengths=(8, 16, 32),
    elements=256,
    strengths=(0.0, 0.1, 1.0),
    strengths_shape=(16, 16),
    adversarial=(2, 64),
    memory=(256, 256),
    memory_contestants=3,
    steps=3,
    overrides=("data.train=96", "data.dev=30", "data.test=30", "task.hidden_size=16"),
    pace=Pace(0.02, least=3, least_peer=2, most=5),
    turn=Pace(0.0, least=2, most=2),
)


@dataclass(frozen=True)
class Course:
    """One run of the benchmark: where, with how many threads, and how much."""

    clock: Clock
    plan: Plan
    threads: tuple[int, ...]

    @property
    def device(self) -> torch.device:
        return self.clock.device


def plan_for(kind: str, quick: bool) -> Plan:
    """The plan for a kind of device."""
    return QUICK if quick else CUDA if kind == "cuda" else FULL
