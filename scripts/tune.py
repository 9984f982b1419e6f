"""Search settings on dev with Optuna: `make tune TASK=snli ATTN=fusedmax TRIALS=20`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from scripts import cli
from scripts.cli import Parser, read_config
from scripts.runs import Setup, set_up
from scripts.sweep import keep_apart
from scripts.sweeping.search_space import Dimension, read_space
from scripts.sweeping.studies import SharedStudy
from scripts.train import make_command, train_set_up
from tasks.ranges import PositiveInt, check_number
from tasks.training.callbacks import Callback, EpochEvent, StartEvent
from tasks.training.fit import NonFiniteError
from tasks.training.records import Record, find_record

RESULTS = "results/studies"
"""Where the records of trials lie, unless told otherwise: apart from those that tables are made of."""


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


def tune(name: str, space: Sequence[Dimension], trials: int, overrides: Sequence[str]) -> None:
    """Search until the study has ``trials``, then print its best setting.

    Args:
        name: of the study; the same one goes on with it, in any number of processes.
        space: what is searched.
        trials: how many settings to try, pruned ones included.
        overrides: of the config that they share.

    Raises:
        UsageError: a key is wrong, or the study is one of something else.
        Preempted: a signal asked for a stop; the same command goes on.
    """
    shared = keep_apart(overrides, RESULTS)
    setup = set_up(read_config(shared))
    journal = Path(setup.config.output_dir) / "studies" / f"{name}.journal"
    about = {"overrides": sorted(shared), "space": [asdict(dimension) for dimension in space]}
    study = SharedStudy(journal, setup.config.seed, json.loads(json.dumps(about)))
    print(f"study {journal}: {len(study.trials())} of {trials} trials begun before", flush=True)
    with study.worker() as worker:
        while begun := study.ask(worker, trials, space):
            trial, chosen = begun
            print(f"\ntrial {trial.number}: {' '.join(chosen)}", flush=True)
            said = _try(study.study, trial, [*shared, *chosen])
            print(f"trial {trial.number}: {said}", flush=True)
    _report(study.trials(), setup.task.metric, overrides, space)


def _try(study: optuna.Study, trial: optuna.Trial, overrides: Sequence[str]) -> str:
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
    train_set_up(setup, [Pruning(trial, setup)])
    record = _record(setup)
    assert record is not None
    return record


def _record(setup: Setup) -> Record | None:
    return find_record(setup.record_file.parent, setup.id)


def _report(
    trials: Sequence[FrozenTrial], metric: str, overrides: Sequence[str], space: Sequence[Dimension]
) -> None:
    counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    finished, pruned = counts[TrialState.COMPLETE], counts[TrialState.PRUNED]
    print(
        f"\n{len(trials)} trials: {finished} finished, {pruned} pruned, {counts[TrialState.FAIL]} failed, "
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
    chosen = [dimension.suggest(optuna.trial.FixedTrial(best.params)) for dimension in space]
    print(make_command([*overrides, *chosen]), flush=True)


def _main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="make tune")
    parser.add_argument("--study", required=True)
    parser.add_argument("--space", required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("TRIALS", given.trials, PositiveInt)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tune(given.study, read_space(given.space), given.trials, given.overrides)


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where the study has its trials, 2 for a wrong command, 75 where it was stopped."""
    cli.main(lambda: _main(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
