"""A run between its config and its directory: shared by train, evaluate and predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import torch
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from regattn import Mapping
from scripts.cli import UsageError, plain
from tasks.training.optim import OptimSettings
from tasks.training.provenance import config_hash, run_id
from tasks.training.rundir import RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.state import best_weights
from tasks.training.task import RecordedTask


@dataclass(frozen=True)
class Setup:
    """Everything that a config stands for, built and checked."""

    config: DictConfig
    mapping: Mapping
    trainer: TrainerSettings
    optim: OptimSettings
    device: torch.device
    task: RecordedTask[Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the result: the config, and what the files hold that it names."""
        return {**plain(self.config), "inputs": self.task.inputs}

    @property
    def hash(self) -> str:
        return config_hash(self.identity)

    @property
    def id(self) -> str:
        corpus, mapping = self.task.corpus.name, self.mapping.function.__name__
        return run_id(self.config.task_name, mapping, corpus, self.config.seed, self.identity)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(Path(self.config.output_dir) / self.id)


def set_up(config: DictConfig) -> Setup:
    """Build what ``config`` names; everything cheap first, so that bad values are refused at once.

    Raises:
        ValueError: a value out of its range, or data that cannot be used.
    """
    trainer = TrainerSettings(**config.trainer)
    # Runs from before there was a choice name no class.
    optim = instantiate({"_target_": "tasks.training.optim.Adam", **config.optim}, _convert_="all")
    mapping = instantiate(config.attention)
    device = trainer.torch_device()
    build = task_builder(config.task)
    corpus = instantiate(config.data, _convert_="all")
    return Setup(config, mapping, trainer, optim, device, build(corpus, mapping, config.seed, device))


def task_builder(config: DictConfig) -> Callable[..., RecordedTask[Any]]:
    """What builds the task named in a config, its options given; groups of options become their class.

    Raises:
        ValueError: an option out of its range.
    """
    build = get_method(config._target_)
    hints = get_type_hints(build)
    options = {str(name): value for name, value in config.items() if name != "_target_"}
    for name, value in options.items():
        if is_dataclass(hints[name]):
            options[name] = hints[name](**value)
    return partial(build, **options)


def find_run(run: str, output_dir: str = "runs") -> RunDirectory:
    """The directory of a run given by its id, the beginning of its id, or its path.

    Raises:
        UsageError: there is no such run, or several.
    """
    found = [Path(run)] if (Path(run) / "config.json").exists() else sorted(Path(output_dir).glob(f"{run}*"))
    found = [path for path in found if (path / "config.json").exists()]
    if not run or len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(f"RUN must name one run in {output_dir}/, got {run!r}, which fits {names}")
    return RunDirectory(found[0])


def read_run_config(run: RunDirectory) -> DictConfig:
    """The config that the run was made from."""
    config = OmegaConf.create(json.loads(run.config.read_text(encoding="utf-8")))
    assert isinstance(config, DictConfig)
    return config


def load_best(setup: Setup, run: RunDirectory) -> None:
    """Give the model the weights that did best on dev."""
    weights = best_weights(run.checkpoint, setup.task.vocabulary_sha256)
    setup.task.model.load_state_dict(weights)
