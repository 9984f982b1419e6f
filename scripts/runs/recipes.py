"""The recipes of configs/experiment, and which of them a run's config is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from scripts.runs.config import CONFIGS, compose_config, missing_keys, plain
from tasks.training.provenance import SEEDS, SPEED, config_hash

TIERS = ("mini", "small", "paper")
"""Scales of experiments, the folders of configs/experiment; figures of two never share a table."""


def recipe_of(config: Mapping[str, Any], mapping: str) -> str:
    """The experiment that a run with ``config`` belongs to, such as ``small/snli``, or "" where it is none.

    It is one where nothing of it is overridden but the choice of the mapping, which keeps the strengths of
    its file, the seed, and what changes no figure: where files lie, threads, device, logger.

    Args:
        config: plain JSON.
        mapping: the name of its attention.
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
