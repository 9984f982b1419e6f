"""Overrides of configs: grids of them, those of Hydra's own settings, and the command that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from scripts.cli import UsageError
from scripts.runs.config import CONFIGS, read_config

Choice = tuple[str, ...]
"""The overrides that make one setting of a grid."""


@dataclass(frozen=True)
class Grid:
    """Settings to train.

    Attributes:
        fixed: overrides that all of them share.
        axes: for every key that varies its overrides, such as ``["seed=1", "seed=2"]``.
    """

    fixed: list[str]
    axes: dict[str, list[str]]

    @property
    def choices(self) -> list[Choice]:
        """Every combination, the last axis running fastest."""
        return list(product(*self.axes.values()))


def read_grid(name: str, overrides: Sequence[str]) -> Grid:
    """The grid configs/sweep/``name``.yaml (none where it is empty) under ``overrides``.

    An override may vary a key too, as Hydra writes it, or hold one of the grid's still.

    Raises:
        UsageError: there is no such grid, or an override cannot be read.

    Example:
        >>> read_grid("lambda_gamma", ["attention.gamma=1", "attention.lam=0.1,0.2", "seed=range(1,3)"])
        Grid(fixed=['attention.gamma=1'],
             axes={'attention.lam': ['attention.lam=0.1', 'attention.lam=0.2'], 'seed': ['seed=1', 'seed=2']})
    """
    values = dict(_read_override(text) for text in [*_named_grid(name), *overrides])
    fixed = [text for choices in values.values() for text in choices if len(choices) == 1]
    return Grid(fixed, {key: choices for key, choices in values.items() if len(choices) > 1})


def _named_grid(name: str) -> list[str]:
    if not name:
        return []
    known = sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml"))
    if name not in known:
        raise UsageError(f"SWEEP must be one of {', '.join(known)}, got {name!r}")
    params = OmegaConf.load(CONFIGS / "sweep" / f"{name}.yaml").hydra.sweeper.params
    return [f"{key}={values}" for key, values in params.items()]


def _read_override(text: str) -> tuple[str, list[str]]:
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UsageError(
            f"an override must be key=value, got {text!r}: {str(error).splitlines()[0]}"
        ) from None
    key = override.get_key_element()
    if not override.is_sweep_override():
        return key, [text]
    return key, [f"{key}={value}" for value in override.sweep_string_iterator()]


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of runs, and those of Hydra's own settings.

    Example:
        >>> split_overrides(["seed=1", "hydra.launcher.timeout_min=60"])
        (['seed=1'], ['hydra.launcher.timeout_min=60'])
    """
    of_hydra = [text for text in overrides if text.startswith(("hydra.", "hydra/"))]
    return [text for text in overrides if text not in of_hydra], of_hydra


def keep_apart(overrides: Sequence[str], results: str) -> list[str]:
    """Send the records to ``results``, unless ``overrides`` have sent them somewhere already."""
    mine = read_config(overrides).results_dir == read_config([]).results_dir
    return [*overrides, f"results_dir={results}"] if mine else list(overrides)
