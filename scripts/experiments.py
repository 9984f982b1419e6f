"""The configs of the cells of the paper's tables, each an experiment; what cells share is composed once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from omegaconf import DictConfig

from scripts import cli
from scripts.columns import MAPPINGS


def name_of_cell(tier: str, task: str, mapping: str) -> str:
    """The experiment of a cell."""
    return f"{tier}_{task}_{mapping}"


def compose_cell(tier: str, task: str, mapping: str, arguments: Sequence[str] = ()) -> DictConfig:
    """Compose the experiment of a cell with ``arguments``, as :func:`scripts.cli.compose_config` does.

    To compose takes a fifth of a second, and most cells differ in their attention alone: of experiments
    whose files say the same but for that, one is composed, and gets the attention of the others, unless
    something in it has changed its own.

    Raises:
        UsageError: there is no such experiment, or an argument is wrong.
    """
    recipe = _recipe(tier, task, mapping)
    alike = next(other for other in MAPPINGS if _recipe(tier, task, other) == recipe)
    if alike != mapping and not any("attention" in argument for argument in arguments):
        config = _composed(name_of_cell(tier, task, alike), *arguments).copy()
        if config.attention == _attention(alike):
            config.attention = _attention(mapping)
            return config
    return _composed(name_of_cell(tier, task, mapping), *arguments).copy()


@cache
def _recipe(tier: str, task: str, mapping: str) -> str:
    """What the file of a cell's experiment says besides its mapping; its name where there is none."""
    name = name_of_cell(tier, task, mapping)
    file = cli.CONFIGS / "experiment" / f"{name}.yaml"
    if not file.exists():
        return name
    said = re.sub(r"^#(?! @package).*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return said.replace(f"  - override /attention: {mapping}\n", "")


@cache
def _composed(experiment: str, *arguments: str) -> DictConfig:
    return cli.compose_config([f"experiment={experiment}", *arguments])


@cache
def _attention(mapping: str) -> DictConfig:
    attention = cli.compose_config([], f"attention/{mapping}").attention
    assert isinstance(attention, DictConfig)
    return attention
