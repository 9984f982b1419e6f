"""From a checked config to everything that it stands for, built; and runs that exist, read with suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from regattn import Mapping
from scripts.cli import UsageError
from scripts.runs.config import Train, leaves, plain, validate_config
from tasks._registry import TASKS, task_options
from tasks.attention import AttentionGrid, gamma_times
from tasks.checks import Seed, check_number
from tasks.data import cache
from tasks.data.corpus import Corpus
from tasks.data.files import read_stored
from tasks.training.optim import OptimSettings
from tasks.training.provenance import config_hash, run_id
from tasks.training.records import Details
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings, in_memory
from tasks.training.state import best_weights, load_weights
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
        return Details(id=self.id, items=items, example=example.rounded(3))


def set_up(config: DictConfig, *, like: Setup | None = None) -> Setup:
    """Build what ``config`` names; everything cheap first, so that bad values are refused at once.

    A setup ``like`` it with the same data and task lends its own: enough to tell the run's id and what is
    wrong, where reading the corpus again would take long; not to train.
    """
    check_number("seed", config.seed, Seed)
    trainer = TrainerSettings(**config.trainer)
    # Runs from before there was a choice name no class.
    optim = instantiate({"_target_": "tasks.training.optim.Adam", **config.optim}, _convert_="all")
    mapping = instantiate(config.attention)
    with gamma_times(trainer.anneal_gamma or 1.0, mapping):  # where it cannot be annealed, it is refused here
        pass
    device = trainer.torch_device()
    trainer, notes = trainer.on_this_machine(device)
    if like is not None:
        return Setup(config, mapping, trainer, optim, device, like.task, notes)
    build = get_method(config.task._target_)
    options = task_options(build, config.task)
    corpus, cache_notes = load_corpus(config.data)
    task = in_memory(partial(build, corpus, mapping, config.seed, device, **options))
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


# ------------------------------------------------------------------ of a run that exists
_RUNS = Path("runs")
FOLDERS = {"results_dir": Train.results_dir, "data.cache": None}
"""Keys of the folders that a run writes to beside its directory, and what they are unless it is told."""


def run_names(given: str) -> list[str]:
    """The runs that RUN names: one, or several with spaces between them; a path may have spaces in it."""
    names = [given] if (Path(given) / "config.json").exists() else given.split()
    if not names:
        raise UsageError("RUN must name a run, or several with spaces between them, got none")
    return names


def find_run(run: str) -> RunDirectory:
    """The directory of a run given by its id, the beginning of its id, or its path."""
    # Compared as names: neither a pattern nor a way out of the folder means anything here.
    begun = sorted(path for path in _RUNS.glob("*") if path.name.startswith(run))
    given = [Path(run)] if (Path(run) / "config.json").exists() else begun
    found = [path for path in given if (path / "config.json").exists()]
    if not run or len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(f"RUN must name one run in {_RUNS}/, got {run!r}, which fits {names}")
    return RunDirectory(found[0] if found[0].name else found[0].resolve())


def find_run_for(command: str, run: str) -> RunDirectory:
    """The directory of a run of the task whose trained models ``command`` asks."""
    found = find_run(run)
    task = _stored_config(found).get("task_name")
    asked_by = {name: spec.command for name, spec in TASKS.items()}
    if asked_by.get(task) != command:
        wanted = " or ".join(name for name, other in asked_by.items() if other == command)
        other = f": make {asked_by[task]} asks it" if task in asked_by else ""
        raise UsageError(f"make {command} must get a run of {wanted}, got {found.path.name} of {task}{other}")
    return found


def read_run_config(run: RunDirectory) -> DictConfig:
    """The config that the run was made from."""
    config = _stored_config(run)
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and ("${" in value or value == "???"):  # read, it would look elsewhere
            raise ValueError(f"{run.config} must hold plain values, got {value!r} as {key}")
    try:
        validate_config(config)
    except ValueError as error:
        raise ValueError(f"{run.config} is not the config of a run: {error}") from None
    return config


def open_run(name: str, overrides: Sequence[str] = ()) -> tuple[RunDirectory, DictConfig]:
    """A run, as :func:`find_run` finds it, with its config: it stays where it lies, and its results go where
    the command line says.

    A directory may come from anywhere: that its config names a folder is no reason to write there.
    """
    run = find_run(name)
    config = read_run_config(run)
    config.output_dir = str(run.path.absolute().parent)
    given = dict(override.partition("=")[::2] for override in overrides)
    if unknown := given.keys() - FOLDERS.keys():
        wanted = " and ".join(FOLDERS)
        raise UsageError(f"of a run that exists only {wanted} may be given, got {', '.join(sorted(unknown))}")
    for key, usual in FOLDERS.items():
        stored = OmegaConf.select(config, key)
        if key not in given and stored != usual:
            other = f", or name another folder, such as ARGS='{key}={usual}'" if usual else ""
            raise UsageError(
                f"{run.path.name} was to write to {stored} as its {key}: confirm it, "
                f"ARGS='{key}={stored}'{other}"
            )
        if key in given:
            OmegaConf.update(config, key, given[key])
    return run, config


def _stored_config(run: RunDirectory) -> DictConfig:
    try:
        config = read_stored(run.config, OmegaConf.create)
    except OmegaConfBaseException as error:
        raise ValueError(
            f"{run.config} must hold the config of a run, got something else: {error!r}"
        ) from error
    if not isinstance(config, DictConfig):
        raise ValueError(f"{run.config} must hold a dictionary, got another JSON value")
    return config


def load_best(setup: Setup, run: RunDirectory) -> None:
    """Give the model the weights that did best on dev."""
    weights = best_weights(run.weights, setup.task.vocabulary.sha256)
    load_weights(setup.task.model, weights, run.weights)
