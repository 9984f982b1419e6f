"""Search settings on dev with Optuna: `make tune TASK=snli ATTN=fusedmax TRIALS=20`.

A study lies in a file that several processes share, and that no killed process takes a trial from. Which
values a trial gets is a function of the study's seed and of the trials before it: a study that was killed and
continued by one process is the one that was not. The trial of a process that has ended is begun again with
the same values, and its run continues from its checkpoint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import folder_overrides, keep_apart, load_choice, read_config
from scripts.runs.setup import set_up
from scripts.runs.training import make_command, prepare, train
from tasks.checks import PositiveInt, check_number, counted
from tasks.data.files import open_descriptor
from tasks.training.fit import NonFiniteError
from tasks.training.records import find_record

RESULTS = "results/studies"
"""Where the records of trials lie, unless told otherwise: apart from those that tables are made of."""

_DEFAULTS: dict[str, Any] = {"low": None, "high": None, "log": False, "choices": []}  # of a space's entry
_AGAIN = "again"  # attribute of a trial: whose place it takes

Space = dict[str, BaseDistribution]
"""What a search may choose, by key of the config."""


# ------------------------------------------------------------------ what is searched
def read_space(name: str) -> tuple[Space, list[dict[str, Any]]]:
    """What configs/tune/``name``.yaml lets a search choose, and its entries, all keys filled in."""
    listed = load_choice("SPACE", "tune", name)["space"]
    entries = [{**_DEFAULTS, **entry} for entry in listed]
    return {entry["name"]: make_distribution(**entry) for entry in entries}, entries


def make_distribution(
    name: str, low: float | None, high: float | None, log: bool, choices: Sequence[float | str]
) -> BaseDistribution:
    """The values that one key of the config may take: all between two numbers, or one of some."""
    ranged = low is not None and high is not None and low < high and (low > 0 or not log)
    if ranged == bool(choices):
        raise ValueError(
            f"{name} must have low < high (above 0 if log) or choices, "
            f"got low {low}, high {high}, log {log}, choices {choices}"
        )
    if choices:
        return CategoricalDistribution(list(choices))
    assert low is not None and high is not None
    return FloatDistribution(low, high, log=log)


def overrides_of(params: Mapping[str, Any]) -> list[str]:
    """The overrides that a trial's values are, numbers short enough for a command to carry."""
    return [
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    ]


# ------------------------------------------------------------------ the study
class SharedStudy:
    """A study that maximizes, in a journal; it goes on only with what it was begun ``about``, plain JSON."""

    def __init__(self, path: Path, seed: int, about: Any) -> None:
        self.path, self.seed = path, seed
        self._locks = path.with_suffix(".locks")
        self._locks.mkdir(parents=True, exist_ok=True)
        self._held: list[FileLock] = []
        with self._alone():
            self.study = optuna.create_study(
                storage=journal_storage(path, self._locks / "journal"),
                study_name=path.stem,
                direction="maximize",
                load_if_exists=True,
            )
            begun = self.study.user_attrs.setdefault("about", about)
            if begun != about:
                raise UsageError(f"{path} must go on with what it was begun with, {begun}, got {about}")
            self.study.set_user_attr("about", about)

    def ask(self, trials: int, space: Space) -> optuna.Trial | None:
        """Begin the next trial, or return None where ``trials`` exist, those of other processes included.

        It counts as this process's until that ends, however it does.
        """
        with self._alone():
            self._reclaim()
            counted = self.trials()
            waiting = any(trial.state == TrialState.WAITING for trial in counted)
            if len(counted) >= trials and not waiting:
                return None
            # By count, lest a continued study draw the numbers of its beginning again.
            self.study.sampler = TPESampler(seed=(self.seed * 1_000_003 + len(counted)) % 2**32)
            trial = self.study.ask(space)
            self._held.append(self._lock_of(trial.number))
            self._held[-1].acquire()
            return trial

    def trials(self) -> list[FrozenTrial]:
        """Every trial, those left out whose place another took."""
        everything = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(_AGAIN) for trial in everything}
        return [trial for trial in everything if trial.number not in replaced]

    def _reclaim(self) -> None:
        """Queue the trials of processes that have ended once more, and fail the old ones."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state != TrialState.RUNNING or self._is_alive(trial.number):
                continue
            # Killed between these two lines, the next process only has the second left to do.
            if trial in self.trials():
                self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _lock_of(self, trial: int) -> FileLock:
        return FileLock(self._locks / f"trial-{trial}", timeout=0)

    def _is_alive(self, trial: int) -> bool:
        try:
            with self._lock_of(trial):
                return False
        except Timeout:
            return True

    def _alone(self) -> FileLock:
        return FileLock(self._locks / "study")


def journal_storage(path: Path, lock: Path) -> JournalStorage:
    """Optuna's storage in a file of lines, mended where a write was cut off.

    The end of a process, however it comes, releases the ``lock``; Optuna's own locks stay for half a minute.
    """
    with FileLock(lock), suppress(FileNotFoundError), open(open_descriptor(path, os.O_RDWR), "r+b") as file:
        _cut_torn_line(file)
    return JournalStorage(JournalFileBackend(str(path), cast(Any, FileLock(lock))))


def _cut_torn_line(file: BinaryIO) -> None:
    """Remove what a full disk left of the last line: another line after it would make the file unreadable."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    whole = sum(len(line) for line in file if line.endswith(b"\n"))
    if whole < size:
        file.truncate(whole)


# ------------------------------------------------------------------ trials
def run_trial(study: optuna.Study, trial: optuna.Trial, overrides: Sequence[str]) -> str:
    """Train one setting and tell the study; say what became of it."""
    setup = prepare(overrides)
    try:
        train(setup)
    except NonFiniteError as error:
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {error}"
    record = find_record(setup.record_file.parent, setup.id)
    assert record is not None
    value = record.metrics["dev"][setup.task.metric]
    study.tell(trial, value)
    return f"{setup.task.metric} {value:.4f} on dev, run {record.id}"


def tune(name: str, space_name: str, trials: int, overrides: Sequence[str]) -> None:
    """Search until the study has ``trials``, in any number of processes, then print its best setting."""
    space, entries = read_space(space_name)
    shared = keep_apart(overrides, RESULTS)
    setup = set_up(read_config(shared))
    journal = Path(setup.config.output_dir) / "studies" / f"{name}.journal"
    study = SharedStudy(journal, setup.config.seed, {"overrides": sorted(shared), "space": entries})
    print(f"study {journal}: {len(study.trials())} of {counted(trials, 'trial')} begun before", flush=True)
    while trial := study.ask(trials, space):
        chosen = overrides_of(trial.params)
        print(f"\ntrial {trial.number}: {' '.join(chosen)}", flush=True)
        said = run_trial(study.study, trial, [*shared, *chosen])
        print(f"trial {trial.number}: {said}", flush=True)
    _report(study.trials(), setup.task.metric, overrides)


def _report(trials: Sequence[FrozenTrial], metric: str, overrides: Sequence[str]) -> None:
    counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    finished = counts[TrialState.COMPLETE]
    print(
        f"\n{counted(len(trials), 'trial')}: {finished} finished, {counts[TrialState.FAIL]} failed, "
        f"{counts[TrialState.RUNNING]} running in other processes"
    )
    if not finished:
        return
    best = max(
        (trial for trial in trials if trial.state == TrialState.COMPLETE),
        key=lambda trial: (trial.value, -trial.number),
    )
    print(f"best on dev: trial {best.number}, {metric} {best.value:.4f}")
    print("(the highest of so many, each with one seed: train it with other seeds before believing it)")
    print(make_command([*overrides, *overrides_of(best.params)]), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where the study has its trials, 2 for a wrong command, 75 where it was stopped."""
    parser = cli.Parser(prog="make tune")
    parser.add_argument("--study", type=cli.study_name, required=True)
    parser.add_argument("--space", required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("TRIALS", given.trials, PositiveInt)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tune(given.study, given.space, given.trials, folder_overrides(given.overrides))


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
