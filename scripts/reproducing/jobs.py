"""Cells of the paper's tables and their runs: which experiment each is, with which config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from scripts.cli import UsageError, compose_config, missing_keys, plain
from scripts.columns import MAPPINGS
from scripts.train import make_command
from tasks.ranges import Range, check_number
from tasks.training.provenance import config_hash

TABLES = {"snli": "snli", "summarization": "gigaword", "translation": "translation"}
"""Tables of the paper and the task of each."""

_SeedCount = Annotated[int, Range(least=1, most=100)]


@dataclass(frozen=True)
class Job:
    """One run that a table is made of.

    Args:
        table: one of :data:`TABLES`.
        experiment: its recipe, a file of configs/experiment.
        mapping: of its attention.
        seed: of the run.
        arguments: overrides besides, those that this experiment has a key for.
        config: plain; not resolved where it ``lacks`` values.
        lacks: keys that must be given and are not.
    """

    table: str
    experiment: str
    mapping: str
    seed: int
    arguments: tuple[str, ...]
    config: dict[str, Any]
    lacks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.experiment.replace('/', '-')}-{self.mapping}-s{self.seed}"

    @property
    def cell(self) -> str:
        """All that it shares with the runs of other seeds."""
        return f"{self.experiment} {self.mapping}"

    @property
    def overrides(self) -> list[str]:
        """What a person gives to train it."""
        return [
            f"experiment={self.experiment}",
            f"attention={self.mapping}",
            f"seed={self.seed}",
            *self.arguments,
        ]

    @property
    def command(self) -> str:
        """What a person types to train it."""
        return make_command(self.overrides)

    @property
    def hash(self) -> str:
        """What the config of its record hashes to."""
        assert not self.lacks
        return config_hash(self.config)


def list_jobs(tables: Sequence[str], tier: str, seeds: Sequence[int], arguments: Sequence[str]) -> list[Job]:
    """The runs of every cell of ``tables`` at one tier, tables and mappings in the paper's order.

    Args:
        tables: of :data:`TABLES`.
        tier: of :data:`TIERS`.
        seeds: one run of each cell for each.
        arguments: overrides of them all. One of ``data`` or ``task`` goes to the tables that have its key.

    Raises:
        UsageError: an override that no table has a key for, or that is wrong.
    """
    fitting = {table: _fitting(f"{tier}/{TABLES[table]}", arguments) for table in tables}
    used = {argument for chosen in fitting.values() for argument in chosen}
    # One that fits nowhere is refused where it is composed.
    astray = [argument for argument in arguments if argument not in used]
    return [
        job
        for table in tables
        for mapping in MAPPINGS
        for job in _jobs_of(table, tier, mapping, seeds, (*fitting[table], *astray))
    ]


def _jobs_of(
    table: str, tier: str, mapping: str, seeds: Sequence[int], arguments: tuple[str, ...]
) -> Iterator[Job]:
    experiment = f"{tier}/{TABLES[table]}"
    config = compose_config([f"experiment={experiment}", f"attention={mapping}", *arguments])
    lacks = tuple(missing_keys(config))
    for seed in seeds:
        config.seed = seed
        yield Job(table, experiment, mapping, seed, arguments, _values(config, lacks), lacks)


def _values(config: DictConfig, lacks: Sequence[str]) -> dict[str, Any]:
    if not lacks:
        return plain(config)
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _fitting(experiment: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Those arguments that are not of another table's data or task."""
    doubtful = [word for word in arguments if word.startswith(("data.", "task."))]
    if not doubtful:
        return tuple(arguments)
    # A group that is chosen, such as data=…, decides which keys there are.
    config = compose_config([f"experiment={experiment}", *(w for w in arguments if w not in doubtful)])
    return tuple(word for word in arguments if word not in doubtful or _has_key(config, word))


def _has_key(config: DictConfig, override: str) -> bool:
    section, _, key = override.partition("=")[0].rpartition(".")
    node = OmegaConf.select(config, section, throw_on_missing=False)
    return isinstance(node, DictConfig) and key in {str(name) for name in node}


def parse_seeds(text: str) -> list[int]:
    """Seeds from how many (``5``: 1 to 5), or from which, with commas between them.

    Raises:
        ValueError: neither, or too many.

    Example:
        >>> parse_seeds("3"), parse_seeds("4,7"), parse_seeds("4,")
        ([1, 2, 3], [4, 7], [4])
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UsageError(f"SEEDS must be how many (5) or which (4,5,6), got {text!r}")
    if "," in text:
        return sorted({int(word) for word in words})
    check_number("SEEDS", count := int(words[0]), _SeedCount)
    return list(range(1, count + 1))


def parse_tables(text: str) -> list[str]:
    """Tables from ``all`` or names with commas between them, in the paper's order.

    Raises:
        UsageError: another name.

    Example:
        >>> parse_tables("translation,snli")
        ['snli', 'translation']
    """
    words = [*TABLES] if text == "all" else [word.strip() for word in text.split(",")]
    for word in words:
        if word not in TABLES:
            raise UsageError(f"TABLE must be all or of {', '.join(TABLES)}, got {word!r}")
    return [table for table in TABLES if table in words]
