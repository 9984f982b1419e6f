"""Settings of a grid in the order of their dev metric; test metrics have no say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from scripts.columns import EPOCH_SECONDS, UNKNOWN, metric
from scripts.markdown import markdown
from scripts.sweeping.grids import Choice
from tasks.training.records import Record


@dataclass(frozen=True)
class Setting:
    """What was chosen apart from the seed, with the records of its finished runs and how many it wants."""

    choice: Choice
    records: Sequence[Record]
    runs: int

    def value(self, name: str) -> float:
        """The dev metric ``name``, a mean over the runs; below any other where there are none."""
        return mean(self._values(name)) if self.records else float("-inf")

    def _values(self, name: str) -> list[float]:
        return [record.metrics["dev"][name] for record in self.records]


def rank(jobs: Iterable[tuple[Choice, Record | None]], name: str) -> list[Setting]:
    """Collect the seeds of every setting; the settings with the best dev metric ``name`` come first."""
    seeds: dict[Choice, list[Record | None]] = {}
    for choice, record in jobs:
        setting = tuple(text for text in choice if not text.startswith("seed="))
        seeds.setdefault(setting, []).append(record)
    settings = [
        Setting(choice, [record for record in records if record is not None], len(records))
        for choice, records in seeds.items()
    ]
    return sorted(settings, key=lambda setting: -setting.value(name))


def ranking(settings: Sequence[Setting], name: str) -> str:
    """The table of :func:`rank`: the mean and standard deviation over seeds."""
    keys = [text.partition("=")[0] for text in settings[0].choice]
    heads = [*(key.rpartition(".")[2] for key in keys), f"dev {name}", "runs", "s per epoch", "first run"]
    return markdown(heads, (_row(setting, name) for setting in settings), numbers=True)


def _row(setting: Setting, name: str) -> list[str]:
    values = [text.partition("=")[2] for text in setting.choice]
    if not setting.records:
        return [*values, UNKNOWN, f"0/{setting.runs}", UNKNOWN, UNKNOWN]
    figures = [
        column.text(setting.records) or UNKNOWN for column in (metric("", "dev", name, 4), EPOCH_SECONDS)
    ]
    return [*values, figures[0], f"{len(setting.records)}/{setting.runs}", figures[1], setting.records[0].id]
