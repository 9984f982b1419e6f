"""Which runs stand together: in a table of one corpus, in a row of one mapping, in a cell of the paper's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import regattn
from tasks._registry import TASKS, TaskSpec
from tasks.attention import AttentionGrid
from tasks.data.files import read_stored
from tasks.training.provenance import SEEDS, SPEED, config_hash, file_word
from tasks.training.records import Record, RecordError, read_details

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Runs = Sequence[Record]
Rows = Mapping[str, Runs]
"""Mapping → its runs, by seed; only mappings that have any, in the library's order."""
Chosen = Mapping[str, Mapping[str, object]]
"""Study → mapping → the strengths that it chose."""

UNIFORM = "_uniform"
"""What ends the name of a recipe in which attention is uniform."""
TUNED = "_tuned"
"""What ends the name of a recipe at strengths chosen on dev; before it stands the name of the study."""
SIGNS = {"gamma": "γ", "lam": "λ"}
MAPPINGS = tuple(name for name, spec in regattn.MAPPINGS.items() if spec.in_paper)
"""The paper's mappings in its order."""
_IN_TABLES = (*MAPPINGS, *(name for name, spec in regattn.MAPPINGS.items() if spec.beside_paper))


class Corpus(NamedTuple):
    """What a table is of: a corpus, told apart by its checksum, at one tier."""

    task: str
    name: str
    sha256: str
    tier: str

    @property
    def title(self) -> str:
        return f"{self.task} on {self.name}, tier {self.tier}"


def corpus_of(record: Record) -> Corpus:
    """What a table with the record is of."""
    return Corpus(record.task, record.corpus["name"], record.corpus["sha256"], record.tier)


def sizes_of(record: Record) -> str:
    """How many pairs each split of its corpus has."""
    return ", ".join(f"{count:,} {split}" for split, count in record.corpus["sizes"].items()) + " pairs"


def task_of(record: Record) -> TaskSpec:
    """How the record's task is shown."""
    if record.task not in TASKS:
        raise RecordError(f"{record.id} must be of the task {', '.join(TASKS)}, got {record.task!r}")
    return TASKS[record.task]


def mapping_rank(mapping: str) -> tuple[int, str]:
    """What mappings are sorted by.

    Example:
        >>> sorted(["fusedmax", "oscarmax_published", "softmax", "another"], key=mapping_rank)
        ['softmax', 'fusedmax', 'oscarmax_published', 'another']
    """
    names = list(regattn.MAPPINGS)
    return names.index(mapping) if mapping in names else len(names), mapping


def mapping_label(record: Record) -> str:
    """The mapping with its strengths.

    Example:
        >>> from types import SimpleNamespace
        >>> mapping_label(SimpleNamespace(mapping="fusedmax", mapping_params={"gamma": 1.0, "lam": 0.1}))
        'fusedmax (gamma 1, lam 0.1)'
    """
    strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
    return f"{record.mapping} ({strengths})"


def strengths_label(record: Record) -> str:
    """The strengths of its mapping in the paper's letters.

    Example:
        >>> from types import SimpleNamespace
        >>> strengths_label(SimpleNamespace(mapping_params={"gamma": 4.0, "lam": 0.025}))
        'γ 4, λ 0.025'
    """
    return ", ".join(f"{SIGNS.get(n, n)} {value:g}" for n, value in record.mapping_params.items())


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items with the same key, such as records, in the order in which they come."""
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return dict(found)


def by_setting(records: Runs) -> list[tuple[Corpus, str, list[Record]]]:
    """Runs that may share a table, those with one corpus, tier and setting, sorted by these.

    The setting is the whole config but for seed, speed and attention, of which a line is shown: a trial
    stands in a table of its own.
    """

    def key(run: Record) -> tuple[Corpus, str, str]:
        try:
            setting = task_of(run).setting(run.config)
        except (AttributeError, KeyError, TypeError) as error:
            raise RecordError(f"{run.id} must hold a config of {run.task}, got {error!r}") from error
        return corpus_of(run), setting, config_hash(run.config, without=(*SEEDS, *SPEED, "attention"))

    return [(corpus, setting, runs) for (corpus, setting, _), runs in sorted(grouped(records, key).items())]


def by_label(records: Runs) -> dict[str, list[Record]]:
    """Runs that differ in their seeds alone, by seed, under mapping and strengths."""
    return grouped(sorted(records, key=_place), mapping_label)


def example_rows(
    records: Runs, details: Path, chosen: Chosen | None = None
) -> list[list[tuple[Record, AttentionGrid]]]:
    """What attention does in the first run with details of each mapping at its strengths.

    Rows are of one recipe and hold a mapping once: trials at further strengths follow in rows of their own.
    Recipes without attention are left out. ``chosen`` is as :func:`recipes_of` takes it.
    """
    kept = [run for run in records if run.details and not run.experiment.endswith(UNIFORM)]
    rows: dict[tuple[str, int], list[tuple[Record, AttentionGrid]]] = defaultdict(list)
    recipes = {name: by_mapping(runs) for name, runs in grouped(kept, _recipe_name).items()}
    for recipe, of in with_shared(recipes, chosen or {}).items():
        before = Counter[str]()
        for run, *_ in by_label([run for runs in of.values() for run in runs]).values():
            rows[recipe, before[run.mapping]].append(
                (run, read_details(details, run.id, run.details).example)
            )
            before[run.mapping] += 1
    return [row for _, row in sorted(rows.items())]


def _recipe_name(record: Record) -> str:
    return record.experiment.partition("/")[2]


def by_mapping(records: Runs) -> dict[str, list[Record]]:
    """The runs of each mapping by seed."""
    return grouped(sorted(records, key=_place), lambda run: run.mapping)


def _place(record: Record) -> tuple[tuple[int, str], str, int]:
    return mapping_rank(record.mapping), mapping_label(record), record.seed


class Recipe(NamedTuple):
    """A recipe by its name without the tier, such as ``snli``, and the runs of it."""

    name: str
    rows: Rows

    @property
    def runs(self) -> list[Record]:
        return [run for runs in self.rows.values() for run in runs]


def recipes_of(records: Runs, task: str, tier: str, chosen: Chosen | None = None) -> list[Recipe]:
    """The runs of a task at a tier that may share a table: those of its recipe, then of its others by name.

    Recipes on another corpus are left out, and those without attention, which are baselines. Where strengths
    that a study has ``chosen`` are those of its own recipe, the runs of that are the tuned recipe's as well.
    """
    names = {_recipe_name(run) for run in records if run.task == task and run.tier == tier}
    names -= {"", task, *(name for name in names if name.endswith(UNIFORM))}
    rows = {name: rows_of(records, name, tier) for name in (task, *sorted(names))}
    found = [Recipe(name, of) for name, of in with_shared(rows, chosen or {}).items() if of]
    corpora = [corpus_of(first_run(recipe.rows)) for recipe in found]
    return [recipe for recipe, corpus in zip(found, corpora, strict=True) if corpus == corpora[0]]


def with_shared(recipes: Mapping[str, Rows], chosen: Chosen) -> dict[str, Rows]:
    """Recipes by name, and in those at chosen strengths the runs of the study's own recipe that have them."""
    found = dict(recipes)
    for study, strengths in chosen.items():
        if tuned := found.get(study + TUNED):
            base = found.get(study, {})
            shared = {m: of for m, of in base.items() if of[0].mapping_params == strengths.get(m)}
            both = {**shared, **tuned}
            found[study + TUNED] = {mapping: both[mapping] for mapping in sorted(both, key=mapping_rank)}
    return found


def rows_of(records: Runs, recipe: str, tier: str) -> Rows:
    """The runs of a recipe at a tier: of each seed one, if it can be one with details."""
    cells = [run for run in records if run.experiment == f"{tier}/{recipe}" and run.mapping in _IN_TABLES]
    corpora = {run.corpus["sha256"]: run.id for run in cells}
    if len(corpora) > 1:
        raise RecordError(
            f"the cells of a table must be of one corpus, got those of {' and '.join(corpora.values())}; "
            f"move away the records of one"
        )
    last_wins = sorted(cells, key=lambda run: (not run.details, run.id), reverse=True)
    return by_mapping(list({(run.mapping, run.seed): run for run in last_wins}.values()))


def chosen_strengths(studies: Path) -> Chosen:
    """What each study in a folder chose."""
    files = sorted(studies.glob("*.json"))
    return {file.stem: read_stored(file, lambda found: found["chosen"]) for file in files}


def first_run(rows: Rows) -> Record:
    """One run of a table, for what all of them share."""
    return next(iter(rows.values()))[0]


def file_names(kind: str, corpora: Collection[Corpus]) -> dict[Corpus, str]:
    """What pictures of several corpora are called: with their checksums where two would have one name.

    Example:
        >>> file_names("figure2", [Corpus("snli", "stanfordnlp/snli", "ab" * 32, "paper")]).popitem()[1]
        'figure2-snli-stanfordnlp_snli-paper'
    """
    plain = {
        corpus: "-".join([kind, *map(file_word, (corpus.task, corpus.name, corpus.tier))])
        for corpus in corpora
    }
    taken = Counter(plain.values())
    return {
        corpus: name if taken[name] == 1 else f"{name}-{corpus.sha256[:8]}" for corpus, name in plain.items()
    }
