"""What a search may choose: configs/tune/*.yaml, one dimension for each key of the config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from optuna.trial import BaseTrial

from scripts.cli import CONFIGS, UsageError

_DIGITS = 4  # of a number that a command has to carry


@dataclass(frozen=True)
class Dimension:
    """One key and the values that it may take.

    Args:
        name: of the key, such as ``attention.lam``.
        low: smallest number.
        high: largest number.
        log: whether small numbers are searched as closely as large ones.
        choices: all values, in place of a range.

    Raises:
        ValueError: neither a range nor choices, or both.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Sequence[float | str] = ()

    def __post_init__(self) -> None:
        ranged = self.low is not None and self.high is not None and 0 * self.log < self.high - self.low
        if ranged == bool(self.choices) or (self.log and not (self.low or 0) > 0):
            raise ValueError(f"{self.name} must have low < high (above 0 if log) or choices, got {self}")

    def suggest(self, trial: BaseTrial) -> str:
        """The override that ``trial`` chooses."""
        if self.choices:
            return f"{self.name}={trial.suggest_categorical(self.name, list(self.choices))}"
        assert self.low is not None and self.high is not None
        return f"{self.name}={trial.suggest_float(self.name, self.low, self.high, log=self.log):.{_DIGITS}g}"


def read_space(name: str) -> list[Dimension]:
    """The dimensions of configs/tune/``name``.yaml.

    Raises:
        UsageError: there is no such space.
        ValueError: one of its dimensions is malformed.

    Example:
        >>> read_space("fusedmax")[0]
        Dimension(name='attention.lam', low=0.001, high=1, log=True, choices=())
    """
    known = sorted(path.stem for path in (CONFIGS / "tune").glob("*.yaml"))
    if name not in known:
        raise UsageError(f"SPACE must be one of {', '.join(known)}, got {name!r}")
    entries: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tune" / f"{name}.yaml"))
    try:
        return [Dimension(**entry) for entry in entries["space"]]
    except TypeError as error:
        raise ValueError(
            f"configs/tune/{name}.yaml must list name, low, high, log or choices: {error}"
        ) from None
