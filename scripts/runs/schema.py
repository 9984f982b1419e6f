"""What a config may hold, read off the signatures of what it configures.

A config file names a class or function and its arguments; the schema of its group has exactly those
arguments with their annotated types, so that a wrong key or type is refused while composing. A config may
also come with a run, from anywhere: nothing but :func:`targets` is ever imported or called for it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, make_dataclass
from functools import cache, partial
from typing import Any, Literal, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from regattn import MAPPINGS
from scripts import loggers
from tasks._registry import TASKS, import_object
from tasks.loading import dotted
from tasks.ranges import fits
from tasks.training import optim
from tasks.training.settings import TrainerSettings

_PLAIN = {int, float, bool, str, int | None, float | None, str | None, tuple[float, float]}  # the rest: Any
_WRITTEN = {float | Tensor: float}  # what a config can hold of a type that code accepts

_GIVEN: dict[str, tuple[str, ...]] = {
    "attention": ("dim",),
    "task": ("corpus", "mapping", "seed", "device"),
    "data": ("prepared",),
    "logger": ("run_id", "directory", "config"),
}
"""Arguments that the code gives, not the config."""


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


def choices() -> dict[str, dict[str, Callable[..., Any]]]:
    """All that a config can make, by group and by the name of its schema: whatever is registered now."""
    return {
        "attention": {name: spec.module for name, spec in MAPPINGS.items()},
        "task": {name: import_object(spec.build) for name, spec in TASKS.items()},
        "data": {
            f"{name}_{kind}": import_object(make)
            for name, spec in TASKS.items()
            for kind, make in spec.corpora.items()
        },
        "optim": {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD},
        "logger": {
            "none": loggers.NoLogger,
            "wandb": loggers.WandbLogger,
            "tensorboard": loggers.TensorBoardLogger,
        },
    }


def targets() -> dict[str, dict[str, Callable[..., Any]]]:
    """For each group what its ``_target_`` may name."""
    return {group: {dotted(make): make for make in named.values()} for group, named in choices().items()}


def register_schemas() -> None:
    """Put every schema in Hydra's store, under the name of the config that uses it."""
    store = ConfigStore.instance().store
    store(group="schema", name="train", node=Train)
    store(group="schema/trainer", name="default", node=trainer_schema())
    for group, named in choices().items():
        for name, make in named.items():
            store(group=f"schema/{group}", name=name, node=schema_in(group, make))


def trainer_schema() -> type:
    """The schema of the trainer's section, which names no class."""
    return _schema_of(TrainerSettings, named=False)


def schema_in(group: str, target: Callable[..., Any]) -> type:
    """The schema of a section of a config that makes ``target``."""
    return _schema_of(target, without=_GIVEN.get(group, ()))


@cache
def _schema_of(target: Callable[..., Any], *, without: tuple[str, ...] = (), named: bool = True) -> type:
    """Dataclass with the arguments of ``target``, and ``_target_`` where the config names it."""
    hints = _hints(target)
    fields: list[tuple[str, Any, Any]] = [("_target_", str, MISSING)] if named else []
    for name, parameter in inspect.signature(target).parameters.items():
        if name not in without:
            hint = str if get_origin(hints[name]) is Literal else _WRITTEN.get(hints[name], hints[name])
            default = _default(parameter.default)
            if inspect.isclass(hint) and is_dataclass(hint):
                hint = _schema_of(hint, named=False)
                default = field(default_factory=hint)
            fields.append((name, hint if hint in _PLAIN or is_dataclass(hint) else Any, default))
    made = make_dataclass(dotted(target).replace(".", "_"), fields)
    # Importable: Hydra's launchers pickle the store with each job, and what is pickled by value comes back as
    # a class whose fields no longer know which defaults are missing.
    made.__module__ = __name__
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The types of the arguments of a class or function."""
    return get_type_hints(target.__init__ if inspect.isclass(target) else target)


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return MISSING
    return field(default_factory=partial(list, value)) if isinstance(value, tuple) else value


# Runs from before there was a choice name no class.
_UNNAMED = {"optim": "tasks.training.optim.Adam"}


def validate_config(config: DictConfig) -> None:
    """Refuse a config that makes what no file in configs/ can make, or gives it what it does not take."""
    for group, known in targets().items():
        section = _section(config, group)
        name = section.get("_target_", _UNNAMED.get(group))
        if name not in known:
            raise ValueError(f"{group}._target_ must be one of {', '.join(known)}, got {name!r}")
        _check_keys(group, section, schema_in(group, known[name]))
        _check_containers(group, section, known[name])
    _check_keys("trainer", _section(config, "trainer"), trainer_schema())


def _section(config: DictConfig, group: str) -> DictConfig:
    section = config.get(group)
    if not isinstance(section, DictConfig):
        raise ValueError(f"{group} must be a section of the config, got {section!r}")
    return section


def _check_keys(group: str, section: DictConfig, schema: type) -> None:
    try:
        OmegaConf.merge(OmegaConf.structured(schema), section)
    except OmegaConfBaseException as error:
        reason = str(error.msg).split("\n")[0]
        raise ValueError(f"{error.full_key or group} of {group}: {reason[0].lower()}{reason[1:]}") from None


def _check_containers(group: str, section: DictConfig, target: Any) -> None:
    """Check the lists and dictionaries, whose types omegaconf cannot read off a signature."""
    hints = _hints(target)
    values = OmegaConf.to_container(section)
    assert isinstance(values, dict)
    for name, value in ((str(key), value) for key, value in values.items()):
        if name != "_target_" and "_target_" in str(value):
            raise ValueError(f"{group}.{name} must be plain values, got a _target_ in them")
        if name in hints and value != MISSING and not fits(value, hints[name]):
            wanted = re.sub(r"\b[a-z_.]+\.(?=[A-Z])", "", str(hints[name]))
            raise ValueError(f"{group}.{name} must be {wanted}, got {value!r}")


def _over(value: float, divisor: float) -> float:
    """``${over:value,divisor}`` in a config; a divisor that is refused elsewhere leaves the value."""
    return value / divisor if divisor > 0 else value


OmegaConf.register_new_resolver("over", _over, replace=True)
register_schemas()  # where it is imported: a launcher's worker finds by name what is pickled
