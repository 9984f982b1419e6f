"""An Optuna study in a file that several processes share, and that no killed process takes a trial from.

Which values a trial gets is a function of the study's seed and of the trials before it: a study that was
killed and continued by one process is the one that was not. The trial of a process that has ended is begun
again with the same values, and its run continues from its checkpoint.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from scripts.cli import UsageError
from scripts.runs.config import CONFIGS
from tasks.data.files import check_regular_file

_DIGITS = 4  # of a number that a command has to carry
_AGAIN, _WORKER = "again", "worker"  # attributes of a trial: whose place it takes, the process that has it


@dataclass(frozen=True)
class Dimension:
    """One key of the config and the values that it may take.

    Args:
        name: of the key, such as ``attention.lam``.
        low: smallest number.
        high: largest number.
        log: whether small numbers are searched as closely as large ones.
        choices: all values, in place of a range.

    Raises:
        ValueError: neither a range nor choices, or both.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Sequence[float | str] = ()

    def __post_init__(self) -> None:
        ranged = self.low is not None and self.high is not None and 0 * self.log < self.high - self.low
        if ranged == bool(self.choices) or (self.log and not (self.low or 0) > 0):
            raise ValueError(f"{self.name} must have low < high (above 0 if log) or choices, got {self}")

    def suggest(self, trial: BaseTrial) -> str:
        """The override that ``trial`` chooses."""
        if self.choices:
            return f"{self.name}={trial.suggest_categorical(self.name, list(self.choices))}"
        assert self.low is not None and self.high is not None
        return f"{self.name}={trial.suggest_float(self.name, self.low, self.high, log=self.log):.{_DIGITS}g}"


def read_space(name: str) -> list[Dimension]:
    """What a search may choose: the dimensions of configs/tune/``name``.yaml.

    Raises:
        UsageError: there is no such space.
        ValueError: one of its dimensions is malformed.

    Example:
        >>> read_space("fusedmax")[0]
        Dimension(name='attention.lam', low=0.001, high=1, log=True, choices=())
    """
    known = sorted(path.stem for path in (CONFIGS / "tune").glob("*.yaml"))
    if name not in known:
        raise UsageError(f"SPACE must be one of {', '.join(known)}, got {name!r}")
    entries: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tune" / f"{name}.yaml"))
    try:
        return [Dimension(**entry) for entry in entries["space"]]
    except TypeError as error:
        raise ValueError(
            f"configs/tune/{name}.yaml must list name, low, high, log or choices: {error}"
        ) from None


class SharedStudy:
    """A study that maximizes.

    Args:
        path: the journal; its directory is made.
        seed: of the search.
        about: plain JSON on what is searched; a study goes on only with the same.

    Raises:
        UsageError: the study was begun with something else.
    """

    def __init__(self, path: Path, seed: int, about: Any) -> None:
        self.path, self.seed = path, seed
        self._locks = path.with_suffix(".locks")
        self._locks.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self.study = optuna.create_study(
                storage=journal_storage(path, self._locks / "journal"),
                study_name=path.stem,
                direction="maximize",
                pruner=MedianPruner(n_startup_trials=5),
                load_if_exists=True,
            )
            begun = self.study.user_attrs.setdefault("about", about)
            if begun != about:
                raise UsageError(f"{path} must go on with what it was begun with, {begun}, got {about}")
            self.study.set_user_attr("about", about)

    @contextmanager
    def worker(self) -> Iterator[str]:
        """Be known as alive, under a name, until the block or the process ends."""
        name = uuid.uuid4().hex
        with FileLock(self._locks / name):
            yield name
        (self._locks / name).unlink()

    def ask(self, worker: str, trials: int, space: Sequence[Any]) -> tuple[optuna.Trial, list[str]] | None:
        """Begin the next trial and return it with its overrides, or None where ``trials`` exist.

        Args:
            worker: this process's name.
            trials: how many there shall be, those of other processes and pruned ones included.
            space: dimensions with ``suggest(trial)``.
        """
        with self._alone():
            self._reclaim()
            counted = self.trials()
            waiting = any(trial.state == TrialState.WAITING for trial in counted)
            if len(counted) >= trials and not waiting:
                return None
            # By count, lest a continued study draw the numbers of its beginning again.
            self.study.sampler = TPESampler(seed=(self.seed * 1_000_003 + len(counted)) % 2**32)
            trial = self.study.ask()
            trial.set_user_attr(_WORKER, worker)
            return trial, [dimension.suggest(trial) for dimension in space]

    def trials(self) -> list[FrozenTrial]:
        """Every trial, those left out whose place another took."""
        everything = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(_AGAIN) for trial in everything}
        return [trial for trial in everything if trial.number not in replaced]

    def _reclaim(self) -> None:
        """Queue the trials of processes that have ended once more, and fail the old ones."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state != TrialState.RUNNING or self._is_alive(trial.user_attrs.get(_WORKER)):
                continue
            # Killed between these two lines, the next process only has the second left to do.
            if trial in self.trials():
                self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _is_alive(self, worker: str | None) -> bool:
        lock = self._locks / str(worker)
        if worker is None or not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True

    def _alone(self) -> FileLock:
        return FileLock(self._locks / "study")


def journal_storage(path: Path, lock: Path) -> JournalStorage:
    """Optuna's storage in a file of lines, mended where a write was cut off.

    Args:
        path: the file, made where it is missing.
        lock: file of its lock. The end of a process, however it comes, releases it; Optuna's own locks stay
            for half a minute.
    """
    check_regular_file(path)
    with FileLock(lock):
        if path.exists():
            _cut_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path), cast(Any, FileLock(lock))))


def _cut_torn_line(path: Path) -> None:
    """Remove what a full disk left of the last line: another line after it would make the file unreadable."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        if whole < size:
            file.truncate(whole)
