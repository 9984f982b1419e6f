"""The tasks, one specification each: what configs, commands, tables and figures know of them is read here.

A task's package makes its specification in its ``__init__.py``, of plain values and of names: nothing that
takes time to import is imported before a task is built.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pkgutil import resolve_name
from typing import Any, get_type_hints

from tasks.checks import check_ranges

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A metric of a record: its name there, what it is called, and what makes it one of 0 to 100."""

    name: str
    label: str
    scale: float = 1.0


@dataclass(frozen=True)
class DataSource:
    """A corpus, or a file of vectors, that somebody else offers."""

    name: str
    size: str  # what is in it, and what there is to download
    files: str  # what to give, and where in it they are looked for
    where: str  # to get it
    terms: str  # its licence, and what has to be done before it may be had


@dataclass(frozen=True)
class TaskSpec:
    """What is known of a task outside its package; dotted names are for :func:`import_object`."""

    name: str  # everywhere: in configs, commands and records
    title: str
    build: str  # dotted: the function that makes it, whose keyword-only arguments are its config
    corpora: Mapping[str, str]  # dotted: the functions that make its corpora, by kind: mini, hub, folder
    command: str  # make target that asks a trained model
    writes_text: bool  # whether such a model answers with texts of its own, line by line
    figure: str  # of the paper, that shows its attention
    primary_metric: Metric  # that of its learning curves, on dev
    # Dotted, for each metric that is tested for significance: the function that makes it, before scaling, of
    # totals over the items in a run's details and of their number; "" for the mean over the items.
    item_scores: Mapping[str, str]
    setting: Callable[[Config], str]  # what a config chose of model and training, in one line
    axes: tuple[str, str] = ("source", "output")  # what stands along and beside that figure
    load: str = ""  # dotted: from config, mapping, directory and device of a run to what asks its model
    baselines: str = ""  # dotted: from the task, built, to scores: system → test split → metric → figure
    # What the paper calls a test set, and what other corpora call one that stands for it.
    test_names: Mapping[str, str] = field(default_factory=dict)
    # The data that each tier needs; tier mini needs none.
    sources: Mapping[str, Sequence[DataSource]] = field(default_factory=dict)

    def scale(self, metric: str) -> float:
        """What makes a metric of a record one of 0 to 100."""
        return self.primary_metric.scale if metric == self.primary_metric.name else 1.0


TASKS: dict[str, TaskSpec] = {}
"""All tasks by name, in the paper's order."""


def register(spec: TaskSpec) -> TaskSpec:
    """Add a task under a name of its own."""
    if spec.name in TASKS:
        raise ValueError(f"a task must have a name of its own, got {spec.name!r} again")
    TASKS[spec.name] = spec
    return spec


def import_object(name: str) -> Any:
    """What a dotted name of a specification stands for.

    Where its module lacks a package, the error names that one; :func:`pkgutil.resolve_name` would say that
    the module is missing, were it not told where the module's name ends.

    Example:
        >>> import_object("fractions.Fraction")(1, 2)
        Fraction(1, 2)
    """
    module, _, attribute = name.rpartition(".")
    return resolve_name(f"{module}:{attribute}")


def dotted(target: Callable[..., Any]) -> str:
    """The name by which a config names it: that of the package, where its module is private."""
    return f"{target.__module__.partition('._')[0]}.{target.__qualname__}"


def task_options(build: Callable[..., Any], section: Mapping[Any, Any]) -> dict[str, Any]:
    """The arguments of a task's builder that its section of a config gives, groups of them as their class.

    Those classes check what they hold; options without one are held against the builder's signature.
    """
    hints = get_type_hints(build)
    options = {str(name): value for name, value in section.items() if name != "_target_"}
    for name, value in options.items():
        if is_dataclass(hints[name]):
            options[name] = hints[name](**value)
    check_ranges(build, options)
    return options
