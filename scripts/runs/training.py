"""A run from its setup to its record, under whatever watches it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from scripts.cli import UsageError
from scripts.loggers import NoLogger
from scripts.runs.config import plain, read_config
from scripts.runs.finalize import finalize
from scripts.runs.overrides import make_command
from scripts.runs.recipes import recipe_of
from scripts.runs.setup import Setup, set_up
from scripts.style import check_drawing
from tasks.training.atomic import write_json_atomically
from tasks.training.callbacks import Callback, Progress, StartEvent
from tasks.training.distributed import enter_on_rank_zero, init_distributed, on_rank_zero
from tasks.training.fit import FitResult, count_steps, fit
from tasks.training.provenance import commit
from tasks.training.records import find_record
from tasks.training.run_directory import RunDirectory


def prepare(overrides: Sequence[str]) -> Setup:
    """What the overrides stand for, with the command that they are."""
    config = read_config(overrides)
    config.command = make_command(overrides)
    return set_up(config)


def train(setup: Setup, more_callbacks: Sequence[Callback] = ()) -> None:
    """One run to its record, in as many processes as there are. A finished run is shown, not repeated.

    Args:
        setup: the run.
        more_callbacks: told after the loggers.
    """
    with init_distributed(setup.device):
        _train(setup, more_callbacks)


def _train(setup: Setup, more_callbacks: Sequence[Callback]) -> None:
    config = setup.config
    if on_rank_zero(partial(_is_finished, setup)):
        return
    on_rank_zero(partial(_check_finalizing, config))
    callbacks: list[Callback] = []
    # Now: what is checked out when the training is over is not what it ran.
    code = on_rank_zero(commit)
    experiment = on_rank_zero(partial(recipe_of, plain(config), setup.mapping_name))

    def begin() -> None:
        _announce(setup)
        callbacks.append(_Start(setup, run))
        callbacks.append(instantiate(config.logger, _partial_=True)(setup.id, run.path, plain(config)))
        if config.progress:
            callbacks.append(Progress(shown=setup.task.shown))
        callbacks.extend(more_callbacks)

    with enter_on_rank_zero(setup.directory) as run:
        on_rank_zero(begin)
        result = _fit(setup, run, callbacks, code)
        on_rank_zero(partial(finalize, setup, run, result, experiment))


class _Start(NoLogger):
    """Keeps what a run is made of, once a checkpoint there is known to be its own; says how it begins."""

    def __init__(self, setup: Setup, run: RunDirectory) -> None:
        self.setup, self.run = setup, run

    def on_start(self, event: StartEvent) -> None:
        write_json_atomically(self.run.config, plain(self.setup.config))
        write_json_atomically(self.run.vocabulary, self.setup.task.vocabulary.to_json())
        if not self.setup.config.progress:  # which says it otherwise
            print("\n".join(event.notes), end="\n" * bool(event.notes), flush=True)


def _check_finalizing(config: DictConfig) -> None:
    """Refuse now what would be refused after the training."""
    check_drawing()
    for name in ("output_dir", "results_dir"):
        folder = Path(config[name]).absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UsageError(f"{name} must be a folder that can be written, got {config[name]}")


def _is_finished(setup: Setup) -> bool:
    if find_record(setup.record_file.parent, setup.id) is None:
        return False
    print(f"{setup.id} is finished already, its record is {setup.record_file}")
    print('to run it again beside that one: ARGS="results_dir=again output_dir=again …"')
    return True


def _fit(setup: Setup, run: RunDirectory, callbacks: Sequence[Callback], code: str) -> FitResult:
    steps = count_steps(setup.task, setup.trainer)
    optimizer, scheduler = setup.optim.build(setup.task.model.parameters(), steps)
    return fit(
        setup.task,
        optimizer,
        setup.trainer,
        run,
        config_hash=setup.hash,
        commit=code,
        scheduler=scheduler,
        callbacks=callbacks,
    )


def _announce(setup: Setup) -> None:
    corpus, task = setup.task.corpus, setup.task
    sizes = ", ".join(f"{n:,} {split}" for split, n in corpus.sizes.items())
    print(f"corpus {corpus.name} ({corpus.sha256[:12]}): {sizes} pairs")
    for note in (*(corpus.notes or ["nothing dropped"]), *task.data_notes):
        print(note)
    print(f"run {setup.id}")
