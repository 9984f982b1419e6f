"""Types of the configs, read off the signatures of what they configure.

A config file names a class or function and its arguments; the schema of its group has exactly those
arguments with their annotated types, so that a wrong key or type is refused while composing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, make_dataclass
from functools import cache, partial
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING
from torch import Tensor

import regattn
import tasks.entailment.data
import tasks.entailment.mini
import tasks.entailment.task
import tasks.summarization.data
import tasks.summarization.mini
import tasks.summarization.task
import tasks.translation.data
import tasks.translation.mini
import tasks.translation.task
from scripts import loggers
from tasks.training import optim
from tasks.training.settings import TrainerSettings

_PLAIN = {int, float, bool, str, int | None, float | None, str | None, tuple[float, float]}  # the rest: Any
_WRITTEN = {float | Tensor: float}  # what a config can hold of a type that code accepts


@dataclass
class Train:
    """Keys of configs/train.yaml."""

    task_name: str = MISSING
    task: Any = MISSING
    attention: Any = MISSING
    data: Any = MISSING
    optim: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    tier: str = MISSING
    seed: int = 1
    output_dir: str = "runs"
    results_dir: str = "results"
    progress: bool = True
    command: str = ""


def schema_of(target: Callable[..., Any], *, without: tuple[str, ...] = (), named: bool = True) -> type:
    """Dataclass with the arguments of ``target``, and ``_target_`` where the config names it."""
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    fields: list[tuple[str, Any, Any]] = [("_target_", str, MISSING)] if named else []
    for name, parameter in inspect.signature(target).parameters.items():
        if name not in without:
            hint = _WRITTEN.get(hints[name], hints[name])
            default = _default(parameter.default)
            if inspect.isclass(hint) and is_dataclass(hint):
                hint = schema_of(hint, named=False)
                default = field(default_factory=hint)
            fields.append((name, hint if hint in _PLAIN or is_dataclass(hint) else Any, default))
    made = make_dataclass(_dotted(target).replace(".", "_"), fields)
    # Importable: Hydra's launchers pickle the store with each job, and what is pickled by value comes back as
    # a class whose fields no longer know which defaults are missing.
    made.__module__ = __name__
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return MISSING
    return field(default_factory=partial(list, value)) if isinstance(value, tuple) else value


def _dotted(target: Callable[..., Any]) -> str:
    """The name by which a config names it: that of the package, where its module is private."""
    return f"{target.__module__.partition('._')[0]}.{target.__qualname__}"


_CHOICES: dict[str, dict[str, Callable[..., Any]]] = {
    "attention": {
        "softmax": regattn.Softmax,
        "sparsemax": regattn.Sparsemax,
        "fusedmax": regattn.Fusedmax,
        "oscarmax": regattn.Oscarmax,
        "oscarmax_published": regattn.OscarmaxPublished,
        "pnormmax": regattn.PNormmax,
    },
    "task": {
        "snli": tasks.entailment.task.build,
        "translation": tasks.translation.task.build,
        "gigaword": tasks.summarization.task.build,
    },
    "data": {
        "snli_mini": tasks.entailment.mini.generate,
        "snli_hub": tasks.entailment.data.load_hub,
        "snli_folder": tasks.entailment.data.load_folder,
        "translation_mini": tasks.translation.mini.generate,
        "translation_hub": tasks.translation.data.load_hub,
        "translation_folder": tasks.translation.data.load_folder,
        "gigaword_mini": tasks.summarization.mini.generate,
        "gigaword_hub": tasks.summarization.data.load_hub,
        "gigaword_folder": tasks.summarization.data.load_folder,
    },
    "optim": {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD},
    "logger": {
        "none": loggers.NoLogger,
        "wandb": loggers.WandbLogger,
        "tensorboard": loggers.TensorBoardLogger,
    },
}
"""All that a config can make, by group and by the name of its schema."""

_GIVEN: dict[str, tuple[str, ...]] = {
    "attention": ("dim",),
    "task": ("corpus", "mapping", "seed", "device"),
    "logger": ("run_id", "directory", "config"),
}
"""Arguments that the code gives, not the config."""

TARGETS = {group: {_dotted(make): make for make in named.values()} for group, named in _CHOICES.items()}
"""For each group what its ``_target_`` may name."""


_SCHEMAS = {
    (group, target): schema_of(make, without=_GIVEN.get(group, ()))
    for group, named in TARGETS.items()
    for target, make in named.items()
}
TRAINER = schema_of(TrainerSettings, named=False)


def schema_in(group: str, target: str) -> type:
    """The schema of a section of a config."""
    return _SCHEMAS[group, target]


@cache
def register() -> None:
    """Put every schema in Hydra's store, under the name of the config that uses it."""
    store = ConfigStore.instance().store
    store(group="schema", name="train", node=Train)
    store(group="schema/trainer", name="default", node=TRAINER)
    for group, named in _CHOICES.items():
        for name, make in named.items():
            store(group=f"schema/{group}", name=name, node=schema_in(group, _dotted(make)))
