"""The runs of a grid: all checked before any is trained, and their settings in the order of dev."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from scripts.markdown import markdown
from scripts.paper.significance import mean_std
from scripts.paper.table import UNKNOWN
from scripts.runs.config import plain, read_config
from scripts.runs.overrides import Choice, Grid
from scripts.runs.runner import Job
from scripts.runs.setup import Setup, set_up
from tasks.training.records import Record


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a grid, what trains it, and the run that it is."""

    choice: Choice
    job: Job
    setup: Setup

    @property
    def is_finished(self) -> bool:
        """Whether its record exists."""
        return self.setup.record_file.exists()


def check_settings(grid: Grid) -> list[Setting]:
    """Check every setting and find out its run, before any is trained; a corpus is read once.

    Raises:
        UsageError: a key or value is wrong.
        ValueError: a value is out of its range, or the data cannot be used.
    """
    read: dict[str, Setup] = {}
    settings = []
    for choice in grid.choices:
        job = Job(",".join(choice).replace("/", "-") or "run", (*grid.fixed, *choice))
        config = read_config(job.overrides)
        data = json.dumps([plain(config.data), plain(config.task)])
        setup = set_up(config, like=read.get(data))
        read.setdefault(data, setup)
        settings.append(Setting(choice, job, setup))
    return settings


@dataclass(frozen=True)
class Ranked:
    """What was chosen apart from the seed, with the records of its finished runs and how many it needs."""

    choice: Choice
    records: Sequence[Record]
    runs: int

    def value(self, name: str) -> float:
        """The dev metric ``name``, a mean over the runs; below any other where there are none."""
        values = [record.metrics["dev"][name] for record in self.records]
        return mean(values) if values else float("-inf")


def rank(settings: Iterable[Setting], records: Iterable[Record]) -> list[Ranked]:
    """Collect the seeds of every setting; those with the best dev metric come first, test has no say."""
    known = {record.id: record for record in records}
    settings = list(settings)
    seeds: dict[Choice, list[Record | None]] = {}
    for setting in settings:
        choice = tuple(text for text in setting.choice if not text.startswith("seed="))
        seeds.setdefault(choice, []).append(known.get(setting.setup.id))
    found = [
        Ranked(choice, [record for record in records if record is not None], len(records))
        for choice, records in seeds.items()
    ]
    metric = settings[0].setup.task.metric
    return sorted(found, key=lambda ranked: -ranked.value(metric))


def ranking(ranked: Sequence[Ranked], name: str) -> str:
    """The table of :func:`rank`: the mean and standard deviation over seeds."""
    keys = [text.partition("=")[0] for text in ranked[0].choice]
    heads = [*(key.rpartition(".")[2] for key in keys), f"dev {name}", "runs", "s per epoch", "first run"]
    return markdown(heads, (_row(one, name) for one in ranked), numbers=True)


def _row(ranked: Ranked, name: str) -> list[str]:
    values = [text.partition("=")[2] for text in ranked.choice]
    if not ranked.records:
        return [*values, UNKNOWN, f"0/{ranked.runs}", UNKNOWN, UNKNOWN]
    score = mean_std([record.metrics["dev"][name] for record in ranked.records]).text(4)
    seconds = f"{min(record.seconds['per_epoch'] for record in ranked.records):.1f}"
    return [*values, score, f"{len(ranked.records)}/{ranked.runs}", seconds, ranked.records[0].id]
