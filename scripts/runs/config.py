"""What a config may hold, from overrides to a checked config, and from a config to the recipe that it is.

A config file names a class or function and its arguments; the schema of its group has exactly those
arguments with their annotated types, so that a wrong key or type is refused while composing. A config may
also come with a run, from anywhere: nothing but :func:`targets` is ever imported or called for it.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError
from torch import Tensor

from regattn import MAPPINGS
from scripts import loggers
from scripts.cli import UsageError
from tasks._registry import TASKS, dotted, import_object
from tasks.checks import fits
from tasks.training import optim
from tasks.training.provenance import SEEDS, SPEED, config_hash
from tasks.training.settings import TrainerSettings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TIERS = ("mini", "small", "paper")
"""Scales of experiments, the folders of configs/experiment; figures of two never share a table."""

MUST_BE_GIVEN = ("???", "${required:}")  # the second where "???" would leave an earlier value as it is

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
    """Put every schema in Hydra's store that is not there, under the name of the config that uses it."""
    found: dict[tuple[str, str], type] = {("schema", "train"): Train}
    found["schema/trainer", "default"] = trainer_schema()
    for group, named in choices().items():
        for name, make in named.items():
            found[f"schema/{group}", name] = schema_in(group, make)
    for (group, name), schema in found.items():
        if _stored.get((group, name)) is not schema:  # else a fifth of composing would be storing them again
            ConfigStore.instance().store(group=group, name=name, node=schema)
            _stored[group, name] = schema


_stored: dict[tuple[str, str], type] = {}


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
        _check_section(group, section, schema_in(group, known[name]))
        _check_containers(group, section, known[name])
    _check_section("trainer", _section(config, "trainer"), trainer_schema())


def _section(config: DictConfig, group: str) -> DictConfig:
    section = config.get(group)
    if not isinstance(section, DictConfig):
        raise ValueError(f"{group} must be a section of the config, got {section!r}")
    return section


def _check_section(group: str, section: DictConfig, schema: type) -> None:
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


# ------------------------------------------------------------------ from overrides to a config
def read_config(overrides: Sequence[str]) -> DictConfig:
    """Compose configs/train.yaml with ``overrides`` and check that it is complete, and every key and type."""
    config = compose_config(overrides)
    finish_config(config)
    return config


def finish_config(config: DictConfig) -> None:
    """Check a config that Hydra composed by itself, which lets more pass, and resolve it in place."""
    _check_keys(config)
    if missing := missing_keys(config):
        raise UsageError(f'{missing[0]} must be given, as in ARGS="{missing[0]}=…", got nothing')
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise UsageError(_explain(error, ())) from None
    validate_config(config)


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The same, unresolved and without the values that must be given, which :func:`missing_keys` names."""
    check_choices(overrides)
    _check_task(overrides)
    register_schemas()
    with _set_hydra_aside(), initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            config = compose("train", list(overrides))
            _check_keys(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise UsageError(_explain(error, overrides)) from None
    return config


@contextmanager
def _set_hydra_aside() -> Iterator[None]:
    """Make room for another Hydra where one is at work: the job of a multirun composes recipes."""
    at_work = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = at_work


def check_choices(overrides: Sequence[str]) -> None:
    """Refuse the choice of a file that is none of its group.

    Hydra would read one outside the group, and pass over one that is missing from an optional group.
    """
    for override in overrides:
        if override.startswith("~"):
            raise UsageError(f"an override must be key=value, got {override!r}: no key can be taken away")
        group = re.split("[@=]", override.lstrip("+"))[0]
        if group and (CONFIGS / group).is_dir():
            for choice in _choices(override):
                if os.pardir in choice.split("/"):
                    raise UsageError(f"{group} must name a file inside configs/{group}, got {choice!r}")
                if not (CONFIGS / group / f"{choice}.yaml").is_file():
                    raise UsageError(_no_choice(f"{group}/{choice}"))


def _check_task(overrides: Sequence[str]) -> None:
    """Refuse an experiment or a corpus of another task than the one that is chosen."""
    chosen = {}
    for override in overrides:
        group = override.partition("=")[0]
        if group in ("task", "experiment", "data") and len(choices := _choices(override)) == 1:
            (chosen[group],) = choices
    task = chosen.get("task")
    if experiment := chosen.get("experiment"):
        defaults = load_choice("experiment", "experiment", experiment).get("defaults", [])
        of = next((default["override /task"] for default in defaults if "override /task" in default), task)
        if task not in (None, of):
            raise UsageError(f"experiment={experiment} must go with TASK={of}, got {task}")
        task = of
    corpus = chosen.get("data", "").partition("/")[0]
    if corpus and corpus != (task or "snli"):
        raise UsageError(f"data must be a corpus of {task or 'snli'}, got {chosen['data']}")


def _choices(override: str) -> list[str]:
    """The files of a group that an override chooses, none where it is not one: that Hydra tells itself."""
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return []
    return [choice for choice in (value if isinstance(value, list) else [value]) if isinstance(choice, str)]


def load_choice(variable: str, group: str, name: str) -> Any:
    """The plain content of configs/``group``/``name``.yaml."""
    if name not in (known := _choices_in(CONFIGS / group)):
        raise UsageError(f"{variable} must be one of {', '.join(known)}, got {name!r}")
    return OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{name}.yaml"))


def _choices_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def folder_overrides(overrides: Sequence[str]) -> list[str]:
    r"""Overrides in which make's ``DATA=<folder>`` is that of ``data.root``, quoted for Hydra's grammar.

    Example:
        >>> folder_overrides(["seed=1", "DATA=../sumdata", "DATA=my 'own' [texts]"])
        ['seed=1', 'data.root=../sumdata', "data.root='my \\'own\\' [texts]'"]
    """
    return [_folder_override(text[5:]) if text.startswith("DATA=") else text for text in overrides]


def _folder_override(folder: str) -> str:
    if "${" in folder:
        raise UsageError(f"DATA must be a folder without ${{ in its name, got {folder!r}")
    if re.fullmatch(r"[A-Za-z_./-][\w./-]*", folder, re.ASCII) and "/" in folder:
        return f"data.root={folder}"
    # A backslash means itself there, but before a quote or at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and "\\'"), folder)
    return f"data.root='{escaped}'"


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


def missing_keys(config: DictConfig) -> list[str]:
    """Dotted names of the values that must be given, sorted."""
    raw = OmegaConf.to_container(config, resolve=False)
    return sorted(key for key, value in leaves(raw) if value in MUST_BE_GIVEN)


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested config, which is plain, under their dotted keys."""
    if not isinstance(node, dict):
        yield place, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{place}.{key}" if place else str(key))


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain JSON."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _check_keys(config: DictConfig, place: str = "") -> None:
    """Refuse what `+key=value` has added to a typed section."""
    kind = OmegaConf.get_type(config)
    for key in config:
        if is_dataclass(kind) and key not in {field.name for field in fields(kind)}:
            raise UsageError(_unknown_key(place + str(key), config, place))
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            _check_keys(node, f"{place}{key!s}.")


def _no_choice(path: str) -> str:
    folder = (CONFIGS / path).parent
    while not folder.is_dir():
        folder = folder.parent
    group = folder.relative_to(CONFIGS)
    choice = (CONFIGS / path).relative_to(folder)
    known = _choices_in(folder)
    return f"{group} must be one of {', '.join(known)}, got {str(choice)!r}{_hint(str(choice), known)}"


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    """One sentence out of Hydra's several lines."""
    if isinstance(error, OverrideParseException):
        return f"an override must be key=value, got {error.override!r}"
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None)
    first = str(getattr(cause, "msg", None) or cause).split("\n")[0]
    if key and isinstance(cause, ValidationError):
        return f"{key}: {first[0].lower()}{first[1:]}"
    if key and isinstance(cause, ConfigKeyError | AttributeError):
        return _unknown_key(key, _composed_of_choices(overrides))
    if unknown := re.search(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(unknown.group(1), _composed_of_choices(overrides))
    if first.startswith("Ambiguous value"):
        return f"{first}: a list is written [1,2], and make sweep trains with each of several values"
    if unfit := re.match(r"In '([^']+)': \w+ raised while composing config:\n(.)([^\n]*)", str(error)):
        file, initial, rest = unfit.groups()
        return f"{file} must fit the other choices, got {initial.lower()}{rest}"
    return first


def _composed_of_choices(overrides: Sequence[str]) -> DictConfig:
    """What the choices of files alone make, where the values beside them do not fit."""
    choices = [override for override in overrides if (CONFIGS / override.partition("=")[0]).is_dir()]
    try:
        return compose("train", choices)
    except (HydraException, OmegaConfBaseException):
        return compose("train")


def _unknown_key(key: str, config: DictConfig, within: str = "") -> str:
    """Say which keys the section of ``key`` has; ``config`` is what stands ``within``, as "task.text."."""
    section, _, last = key.rpartition(".")
    path = key.removeprefix(within).rpartition(".")[0]
    node = OmegaConf.select(config, path) if path else config
    known = []
    if isinstance(node, DictConfig):
        kind = OmegaConf.get_type(node)
        names = [field.name for field in fields(kind)] if is_dataclass(kind) else map(str, node)
        known = sorted(name for name in names if not name.startswith("_"))
    place = section or "the config"
    return f"{key} is no key: {place} has {', '.join(known) or 'none'}{_hint(last, known)}"


def _hint(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def recipe_of(config: Mapping[str, Any], mapping: str) -> str:
    """The experiment that a run with this plain config belongs to, such as ``small/snli``, or "" if to none.

    It is one where nothing of it is overridden but the choice of the mapping, which keeps the strengths of
    its file, the seed, and what changes no figure: where files lie, threads, device, logger.
    """
    if not (CONFIGS / "attention" / f"{mapping}.yaml").is_file():
        return ""
    wanted = _setting(config)
    for file in sorted((CONFIGS / "experiment").glob("*/*.yaml")):
        name = f"{file.parent.name}/{file.stem}"
        # Composing takes a fifth of a second: of recipes whose tier or task is another, none is.
        is_alike = file.parent.name == config["tier"] and file.stem.startswith(config["task_name"])
        if is_alike and _setting_of_recipe(name, mapping) == wanted:
            return name
    return ""


@cache
def _setting_of_recipe(name: str, mapping: str) -> tuple[str, bool]:
    config = compose_config([f"experiment={name}", f"attention={mapping}"])
    for key in missing_keys(config):  # where files lie, which no hash depends on
        OmegaConf.update(config, key, "given")
    return _setting(plain(config))


def _setting(config: Mapping[str, Any]) -> tuple[str, bool]:
    """What the runs of one cell have in common: a hash, and whether vectors are given, wherever they lie."""
    has_vectors = bool(config["task"].get("vectors"))
    return config_hash(config, without=(*SEEDS, *SPEED)), has_vectors
