"""Trained models, from the directory of a run or from what `make export` made of it: no corpus is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import regattn
from tasks._registry import TASKS, dotted, import_object, task_options
from tasks.data.files import read_stored
from tasks.training.run_directory import RunDirectory


def from_run(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """Load the model of a run, with the weights that did best on dev.

    Args:
        path: a directory that `make train` or `make export` left.
        device: where the model is to work.

    Returns:
        What asks it: a :class:`tasks.entailment.task.EntailmentPredictor`, or, of tasks that write text, a
        :class:`tasks.seq2seq.translator.Translator`. Nothing that the files say is imported or run.

    Raises:
        OSError: a file is missing.
        ValueError: config or vocabulary is damaged, or no run's.
        ResumeError: the weights are another vocabulary's, or a model's of another shape.
        CheckpointError: the weights are damaged, or no epoch was finished yet.

    Example:
        >>> translator = from_run("runs/translation-fusedmax-…")  # doctest: +SKIP
        >>> translator.generate(["ein hund schläft ."])[0][0].text  # doctest: +SKIP
        'a dog sleeps .'
    """
    run = RunDirectory(Path(path))
    config = read_stored(run.config, dict)
    try:
        return load_trained(config, run, torch.device(device))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{run.config} must hold the config of a run, got another: {error!r}") from error


def load_trained(config: Mapping[str, Any], run: RunDirectory, device: torch.device) -> Any:
    """The same of a run whose config was read before, and checked as far as its reader could."""
    specs = {spec.build: spec for spec in TASKS.values() if spec.load}
    if (named := config["task"]["_target_"]) not in specs:
        raise ValueError(f"task._target_ must be one of {', '.join(specs)}, got {named!r}")
    options = task_options(import_object(specs[named].build), config["task"])
    mapping = _build_mapping(config["attention"])
    return import_object(specs[named].load)({**config, "task": options}, mapping, run, device)


def _build_mapping(section: Mapping[str, Any]) -> regattn.Mapping:
    modules = {dotted(spec.module): spec.module for spec in regattn.MAPPINGS.values()}
    strengths = dict(section)
    if (named := strengths.pop("_target_")) not in modules:
        raise ValueError(f"attention._target_ must be one of {', '.join(modules)}, got {named!r}")
    return modules[named](**strengths)
