"""A run between its config and its directory: shared by all that train or ask a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from regattn import Mapping
from scripts.checks import check_config
from scripts.cli import UsageError, plain
from tasks.attention import AttentionGrid
from tasks.data.files import first_line, read_whole
from tasks.ranges import Seed, check_number, check_ranges
from tasks.seq2seq.task import build_model
from tasks.seq2seq.text import Tokenizers
from tasks.seq2seq.translator import Translator
from tasks.training.details import Details, Example
from tasks.training.model_size import bounded_size
from tasks.training.optim import OptimSettings
from tasks.training.provenance import config_hash, run_id
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.state import best_weights, load_weights
from tasks.training.task import RecordedTask

T = TypeVar("T")

ASKED_BY = {"snli": "predict", "translation": "translate", "gigaword": "summarize"}
"""The make target that asks a trained model of each task."""


@dataclass(frozen=True)
class Setup:
    """Everything that a config stands for, built and checked."""

    config: DictConfig
    mapping: Mapping
    trainer: TrainerSettings
    optim: OptimSettings
    device: torch.device
    task: RecordedTask[Any]

    @cached_property
    def hash(self) -> str:
        """Hash of what decides the result: the config, and what the files hold that it names."""
        return config_hash({**plain(self.config), "inputs": self.task.inputs})

    @cached_property
    def id(self) -> str:
        corpus, mapping = self.task.corpus.name, self.mapping.function.__name__
        return run_id(self.config.task_name, mapping, corpus, self.config.seed, self.hash)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(Path(self.config.output_dir) / self.id)

    def details(self, example: AttentionGrid) -> Details:
        """The details of the run, after its test sets were evaluated."""
        items = {split: self.task.items[split] for split in self.task.corpus.test_splits}
        return Details(id=self.id, items=items, example=Example.of(example))

    @property
    def record_file(self) -> Path:
        return Path(self.config.results_dir) / "runs" / f"{self.id}.json"


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
    if like is not None:
        return Setup(config, mapping, trainer, optim, device, like.task)
    build = task_builder(config.task)
    corpus = instantiate(config.data, _convert_="all")
    task = _in_memory(partial(build, corpus, mapping, config.seed, device))
    return Setup(config, mapping, trainer, optim, device, task)


def _in_memory(build: Callable[[], T]) -> T:
    """The model that ``build`` makes, or its task, unless it asks for too many weights or too much memory."""
    try:
        with bounded_size():
            return build()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise ValueError(f"the model must fit into memory, got: {first_line(error)}") from error


def task_builder(config: DictConfig) -> Callable[..., RecordedTask[Any]]:
    """What builds the task named in a config, its options given; groups of options become their class.

    Those classes check what they hold; options without one are held against the builder's signature.

    Raises:
        ValueError: an option out of its range.
    """
    build, options = get_method(config._target_), _task_options(config)
    check_ranges(build, options)
    return partial(build, **options)


def _task_options(config: DictConfig) -> dict[str, Any]:
    hints = get_type_hints(get_method(config._target_))
    options = {str(name): value for name, value in config.items() if name != "_target_"}
    for name, value in options.items():
        if is_dataclass(hints[name]):
            options[name] = hints[name](**value)
    return options


def find_run(run: str, output_dir: str = "runs") -> RunDirectory:
    """The directory of a run given by its id, the beginning of its id, or its path.

    Raises:
        UsageError: there is no such run, or several.
    """
    # Compared as names: neither a pattern nor a way out of the folder means anything here.
    begun = sorted(path for path in Path(output_dir).glob("*") if path.name.startswith(run))
    given = [Path(run)] if (Path(run) / "config.json").exists() else begun
    found = [path for path in given if (path / "config.json").exists()]
    if not run or len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(f"RUN must name one run in {output_dir}/, got {run!r}, which fits {names}")
    return RunDirectory(found[0])


def find_run_for(command: str, run: str) -> RunDirectory:
    """The directory of a run of the task that ``command`` (a value of ``ASKED_BY``) asks.

    Raises:
        UsageError: there is no such run, or several, or its task is another.
    """
    found = find_run(run)
    task = _stored_config(found).get("task_name")
    if ASKED_BY.get(task) != command:
        wanted = next(name for name, other in ASKED_BY.items() if other == command)
        other = f": make {ASKED_BY[task]} asks it" if task in ASKED_BY else ""
        raise UsageError(f"make {command} wants a run of {wanted}, got {found.path.name} of {task}{other}")
    return found


def read_run_config(run: RunDirectory) -> DictConfig:
    """The config that the run was made from.

    Raises:
        ValueError: it is damaged, or names or holds what no config of this project does.
    """
    config = _stored_config(run)
    try:
        check_config(config)
    except ValueError as error:
        raise ValueError(f"{run.config} is not the config of a run: {error}") from None
    return config


def _stored_config(run: RunDirectory) -> DictConfig:
    config = read_stored(run.config, OmegaConf.create)
    if not isinstance(config, DictConfig):
        raise ValueError(f"{run.config} wants a dictionary, got another JSON value")
    return config


def read_stored(path: Path, build: Callable[[Any], T]) -> T:
    """What ``build`` makes of a JSON file of a run.

    Raises:
        ValueError: the file is damaged, or ``build`` wants another content.
    """
    content = read_json(path)
    try:
        return build(content)
    except (AttributeError, KeyError, TypeError, OmegaConfBaseException) as error:
        raise ValueError(f"{path} wants what a run keeps there, got something else: {error!r}") from error


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        OSError: it is a pipe or device.
        ValueError: it is damaged.
    """
    content = read_whole(path)
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise ValueError(f"{path} wants JSON, got a damaged file: {error}") from None


def load_translator(run: RunDirectory, device: torch.device) -> Translator:
    """The translator of a run, with the weights that did best on dev; its corpus is not needed.

    Raises:
        ValueError: its config or vocabulary is damaged.
        ResumeError: its checkpoint is another vocabulary's, or a model's of another shape.
        CheckpointError: its checkpoint cannot be used, or no epoch was finished yet.
    """
    config = read_run_config(run)
    options = _task_options(config.task)
    tokenizers = read_stored(run.vocabulary, Tokenizers.from_json)
    weights = best_weights(run.checkpoint, tokenizers.sha256)
    mapping = instantiate(config.attention)
    model = _in_memory(partial(build_model, tokenizers, mapping, options["model"]))
    load_weights(model, weights, run.checkpoint)
    return Translator(
        model.to(device), tokenizers, options["search"], replace_unknown=options["replace_unknown"]
    )


def load_best(setup: Setup, run: RunDirectory) -> None:
    """Give the model the weights that did best on dev."""
    weights = best_weights(run.checkpoint, setup.task.vocabulary.sha256)
    load_weights(setup.task.model, weights, run.checkpoint)
