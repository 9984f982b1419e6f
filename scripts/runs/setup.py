"""From a checked config to everything that it stands for, built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from regattn import Mapping
from scripts.runs.config import plain
from tasks.attention import AttentionGrid
from tasks.data import cache
from tasks.data.corpus import Corpus
from tasks.loading import task_options
from tasks.ranges import Seed, check_number
from tasks.training.optim import OptimSettings
from tasks.training.provenance import config_hash, run_id
from tasks.training.records import Details, Example
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings, in_memory
from tasks.training.task import RecordedTask


@dataclass(frozen=True)
class Setup:
    """Everything that a config stands for, built and checked.

    ``trainer`` is what this machine can do of the config's, and ``notes`` say what it cannot.
    """

    config: DictConfig
    mapping: Mapping
    trainer: TrainerSettings
    optim: OptimSettings
    device: torch.device
    task: RecordedTask[Any]
    notes: Sequence[str] = ()

    @property
    def mapping_name(self) -> str:
        """The name of the mapping's function."""
        return self.mapping.function.__name__

    @cached_property
    def hash(self) -> str:
        """Hash of what decides the result: the config, and what the files hold that it names."""
        return config_hash({**plain(self.config), "inputs": self.task.inputs})

    @cached_property
    def id(self) -> str:
        """The name of the run."""
        corpus = self.task.corpus.name
        return run_id(self.config.task_name, self.mapping_name, corpus, self.config.seed, self.hash)

    @property
    def directory(self) -> RunDirectory:
        """Where it keeps what it needs to continue."""
        return RunDirectory(Path(self.config.output_dir) / self.id)

    @property
    def record_file(self) -> Path:
        """Where its record will lie."""
        return Path(self.config.results_dir) / "runs" / f"{self.id}.json"

    def details(self, example: AttentionGrid) -> Details:
        """The details of the run, after its test sets were evaluated."""
        items = {split: self.task.items[split] for split in self.task.corpus.test_splits}
        return Details(id=self.id, items=items, example=Example.of(example))


def set_up(config: DictConfig, *, like: Setup | None = None) -> Setup:
    """Build what ``config`` names; everything cheap first, so that bad values are refused at once.

    Args:
        config: composed and checked.
        like: a setup with the same data and task, which lends its own: enough to tell the run's id and what
            is wrong, where reading the corpus again would take long; not to train.

    Raises:
        ValueError: a value out of its range, or data that cannot be used.
    """
    check_number("seed", config.seed, Seed)
    trainer = TrainerSettings(**config.trainer)
    # Runs from before there was a choice name no class.
    optim = instantiate({"_target_": "tasks.training.optim.Adam", **config.optim}, _convert_="all")
    mapping = instantiate(config.attention)
    device = trainer.torch_device()
    trainer, notes = trainer.on_this_machine(device)
    if like is not None:
        return Setup(config, mapping, trainer, optim, device, like.task, notes)
    build = task_builder(config.task)
    corpus, cache_notes = load_corpus(config.data)
    task = in_memory(partial(build, corpus, mapping, config.seed, device))
    return Setup(config, mapping, trainer, optim, device, task, [*notes, *cache_notes])


def load_corpus(config: DictConfig) -> tuple[Corpus[Any], list[str]]:
    """The corpus that a config names, prepared once for all, and a sentence where nothing can be kept."""
    if "prepared" not in signature(get_method(config._target_)).parameters:
        return instantiate(config, _convert_="all"), []
    folder, notes = cache.default_folder(), []
    if error := cache.refusal(folder):
        notes.append(
            f"what has to be prepared is not kept: {folder} cannot be written ({error.strerror}); "
            f"{cache.VARIABLE} names another"
        )
    return instantiate(config, _convert_="all", prepared=folder), notes


def task_builder(config: DictConfig) -> Callable[..., RecordedTask[Any]]:
    """What builds the task named in a config, its options given.

    Raises:
        ValueError: an option out of its range.
    """
    build = get_method(config._target_)
    return partial(build, **task_options(build, config))
