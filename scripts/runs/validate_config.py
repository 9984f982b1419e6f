"""What a whole config must be: sections that name known things, with values of their types.

A config may come with a run, from anywhere. Nothing but what :func:`scripts.runs.schema.targets` lists is
ever imported or called for it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scripts.runs.schema import schema_in, targets, trainer_schema

# Runs from before there was a choice name no class.
_UNNAMED = {"optim": "tasks.training.optim.Adam"}


def validate_config(config: DictConfig) -> None:
    """Refuse a config that makes what no file in configs/ can make, or gives it what it does not take.

    Raises:
        ValueError: so it is; the message names the key.
    """
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
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    values = OmegaConf.to_container(section)
    assert isinstance(values, dict)
    for name, value in ((str(key), value) for key, value in values.items()):
        if any("_target_" in inner for inner in _dictionaries(value)):
            raise ValueError(f"{group}.{name} must be plain values, got a _target_ in them")
        if name in hints and value != MISSING and not _fits(value, hints[name]):
            wanted = re.sub(r"\b[a-z_.]+\.(?=[A-Z])", "", str(hints[name]))
            raise ValueError(f"{group}.{name} must be {wanted}, got {value!r}")


def _dictionaries(value: Any) -> Iterator[dict[Any, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dictionaries(inner)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type; of types other than containers and their content all are."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Mapping:
        return isinstance(value, dict) and all(
            _fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items()
        )
    if kind is Sequence:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    return isinstance(value, str if hint is Path else hint) if hint in (str, int, Path, type(None)) else True
