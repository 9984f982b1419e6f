"""An Optuna study in a file that several processes share, and that no killed process takes a trial from.

Which values a trial gets is a function of the study's seed and of the trials before it: a study that was
killed and continued by one process is the one that was not. The trial of a process that has ended is begun
again with the same values, and its run continues from its checkpoint.
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from scripts.cli import UsageError
from scripts.sweeping.journals import Journal, locked

_AGAIN, _WORKER = (
    "again",
    "worker",
)  # attributes of a trial: whose place it takes, and the process that has it


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
                storage=JournalStorage(Journal(path, self._locks / "journal")),
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
        with locked(self._locks / name):
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
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _alone(self) -> Any:
        return locked(self._locks / "study")
