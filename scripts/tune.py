"""Search settings on dev with Optuna: `make tune TASK=snli ATTN=fusedmax TRIALS=20`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from scripts import cli
from scripts.runs.config import folder_overrides, keep_apart, read_config
from scripts.runs.setup import set_up
from scripts.runs.study import SharedStudy, overrides_of, read_space, run_trial
from scripts.runs.training import make_command
from tasks.ranges import PositiveInt, check_number

RESULTS = "results/studies"
"""Where the records of trials lie, unless told otherwise: apart from those that tables are made of."""


def tune(name: str, space_name: str, trials: int, overrides: Sequence[str]) -> None:
    """Search until the study has ``trials``, then print its best setting.

    Args:
        name: of the study; the same one goes on with it, in any number of processes.
        space_name: of what is searched, a file of configs/tune.
        trials: how many settings to try, pruned ones included.
        overrides: of the config that they share.

    Raises:
        UsageError: a key is wrong, or the study is one of something else.
        Preempted: a signal asked for a stop; the same command goes on.
    """
    space, entries = read_space(space_name)
    shared = keep_apart(overrides, RESULTS)
    setup = set_up(read_config(shared))
    journal = Path(setup.config.output_dir) / "studies" / f"{name}.journal"
    study = SharedStudy(journal, setup.config.seed, {"overrides": sorted(shared), "space": entries})
    print(f"study {journal}: {len(study.trials())} of {trials} trials begun before", flush=True)
    with study.worker() as worker:
        while trial := study.ask(worker, trials, space):
            chosen = overrides_of(trial.params)
            print(f"\ntrial {trial.number}: {' '.join(chosen)}", flush=True)
            said = run_trial(study.study, trial, [*shared, *chosen])
            print(f"trial {trial.number}: {said}", flush=True)
    _report(study.trials(), setup.task.metric, overrides)


def _report(trials: Sequence[FrozenTrial], metric: str, overrides: Sequence[str]) -> None:
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
    print(make_command([*overrides, *overrides_of(best.params)]), flush=True)


def _main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(prog="make tune")
    parser.add_argument("--study", required=True)
    parser.add_argument("--space", required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("TRIALS", given.trials, PositiveInt)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tune(given.study, given.space, given.trials, folder_overrides(given.overrides))


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where the study has its trials, 2 for a wrong command, 75 where it was stopped."""
    cli.main(lambda: _main(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
