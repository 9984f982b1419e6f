"""One trial of a study: a training that Optuna is told of, and may end early."""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from scripts.runs.config import read_config
from scripts.runs.overrides import make_command
from scripts.runs.setup import Setup, set_up
from scripts.runs.training import train
from tasks.training.callbacks import Callback, EpochEvent, StartEvent
from tasks.training.fit import NonFiniteError
from tasks.training.records import Record, find_record


class Pruning(Callback):
    """Tells Optuna the dev metric of every epoch, and ends a run that lags behind the median of others.

    Args:
        trial: the trial that the run is.
        setup: the run.
    """

    def __init__(self, trial: optuna.Trial, setup: Setup) -> None:
        self.trial = trial
        self.metric, self.log = setup.task.metric, setup.directory.metrics

    def on_start(self, event: StartEvent) -> None:
        """Tell the epochs of an earlier start again: this trial may not know them."""
        epochs = [line for line in map(json.loads, self.log.open()) if line["event"] == "epoch"]
        for line in epochs:
            self._report(line["epoch"], line["dev"])
        if epochs:
            self._prune(epochs[-1]["epoch"], event.epochs)

    def on_epoch(self, event: EpochEvent) -> None:
        """Tell the epoch.

        Raises:
            TrialPruned: it is not worth another one.
        """
        self._report(event.epoch, event.dev)
        self._prune(event.epoch, event.epochs)

    def _report(self, epoch: int, dev: dict[str, float]) -> None:
        self.trial.report(dev[self.metric], epoch)

    def _prune(self, epoch: int, epochs: int) -> None:
        if epoch < epochs and self.trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch}")


def run_trial(study: optuna.Study, trial: optuna.Trial, overrides: Sequence[str]) -> str:
    """Train one setting and tell the study; say what became of it."""
    config = read_config(overrides)
    config.command = make_command(overrides)
    setup = set_up(config)
    try:
        record = _train(trial, setup)
    except optuna.TrialPruned as pruned:
        study.tell(trial, state=TrialState.PRUNED)
        return str(pruned)
    except NonFiniteError as error:
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {error}"
    value = record.metrics["dev"][setup.task.metric]
    study.tell(trial, value)
    return f"{setup.task.metric} {value:.4f} on dev, run {record.id}"


def _train(trial: optuna.Trial, setup: Setup) -> Record:
    if finished := _record(setup):
        for entry in finished.history:
            trial.report(entry["dev"][setup.task.metric], entry["epoch"])
    train(setup, [Pruning(trial, setup)])
    record = _record(setup)
    assert record is not None
    return record


def _record(setup: Setup) -> Record | None:
    return find_record(setup.record_file.parent, setup.id)
