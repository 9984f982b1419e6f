"""Train a model, test it, and leave its record: `make train TASK=snli ATTN=fusedmax`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from scripts import cli, end_imports
from scripts.cli import UsageError
from scripts.leaving import leave
from scripts.loggers import NoLogger
from scripts.recipes import recipe_of
from scripts.runs import Setup, find_run, read_run_config, set_up
from scripts.schema import register
from scripts.style import check_drawing
from tasks.training.atomic import write_json_atomically
from tasks.training.callbacks import Callback, Progress, StartEvent
from tasks.training.distributed import enter_on_rank_zero, init_distributed, on_rank_zero
from tasks.training.fit import FitResult, count_steps, fit
from tasks.training.provenance import commit
from tasks.training.records import find_record
from tasks.training.run_directory import RunDirectory


def train(config: DictConfig) -> None:
    """One run from config to record. A finished run is shown, not repeated."""
    train_set_up(set_up(config))


def train_set_up(setup: Setup, more_callbacks: Sequence[Callback] = ()) -> None:
    """One run of what a config stands for; ``more_callbacks`` are told after the loggers."""
    with init_distributed(setup.device):
        _train(setup, more_callbacks)


def _train(setup: Setup, more_callbacks: Sequence[Callback]) -> None:
    config = setup.config
    if on_rank_zero(partial(_is_finished, setup)):
        return
    on_rank_zero(partial(_check_leaving, config))
    callbacks: list[Callback] = []
    # Now: what is checked out when the training is over is not what it ran.
    code = on_rank_zero(commit)
    mapping = setup.mapping.function.__name__
    experiment = on_rank_zero(partial(recipe_of, cli.plain(config), mapping))

    def begin() -> None:
        _announce(setup)
        callbacks.append(_Start(setup, run))
        callbacks.append(instantiate(config.logger, _partial_=True)(setup.id, run.path, cli.plain(config)))
        if config.progress:
            callbacks.append(Progress(shown=setup.task.shown))
        callbacks.extend(more_callbacks)

    with enter_on_rank_zero(setup.directory) as run:
        on_rank_zero(begin)
        result = _fit(setup, run, callbacks, code)
        on_rank_zero(partial(leave, setup, run, result, experiment))


class _Start(NoLogger):
    """Keeps what a run is made of, once a checkpoint there is known to be its own; says how it begins."""

    def __init__(self, setup: Setup, run: RunDirectory) -> None:
        self.setup, self.run = setup, run

    def on_start(self, event: StartEvent) -> None:
        write_json_atomically(self.run.config, cli.plain(self.setup.config))
        write_json_atomically(self.run.vocabulary, self.setup.task.vocabulary.to_json())
        if not self.setup.config.progress:  # which says it otherwise
            print("\n".join(event.notes), end="\n" * bool(event.notes), flush=True)


def _check_leaving(config: DictConfig) -> None:
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


def make_command(overrides: Sequence[str]) -> str:
    """The make command that is the same as these overrides.

    Example:
        >>> make_command(["task=snli", "attention=fusedmax", "data=snli/mini", "seed=3"])
        'make train TASK=snli ATTN=fusedmax DATA=mini ARGS=seed=3'
    """
    words = {"task": "TASK", "attention": "ATTN", "data": "DATA", "data.pair": "PAIR", "logger": "LOGGER"}
    keys = {override.partition("=")[0] for override in overrides}
    if "experiment" in keys and "task" not in keys:
        del words["data"]  # DATA is a name among those of TASK, which the experiment chooses
    named, rest = [], []
    for override in overrides:
        key, _, value = override.partition("=")
        if key in words:
            named.append(f"{words[key]}={shlex.quote(value.rpartition('/')[2])}")
        else:
            rest.append(shlex.quote(override))
    processes = os.environ.get("WORLD_SIZE", "1")
    named += [f"NPROC={processes}"] if processes != "1" else []
    arguments = [f"ARGS={shlex.quote(' '.join(rest))}"] if rest else []
    return " ".join(["make", "train", *named, *arguments])


def start(overrides: Sequence[str]) -> None:
    """Train what the overrides say."""
    config = cli.read_config(overrides)
    config.command = make_command(overrides)
    train(config)


def resume(run_name: str) -> None:
    """Continue a run in its own directory, wherever that lies now.

    Raises:
        UsageError: its config or its corpus are no longer those that it was made with.
    """
    run = find_run(run_name)
    config = read_run_config(run)
    path = run.path if run.path.name else run.path.resolve()
    config.output_dir = str(path.parent)
    setup = set_up(config)
    if setup.id != path.name:
        # Else another run would begin, beside this one and unasked.
        raise UsageError(
            f"{run.path} must have the config and corpus that it began with, got those of {setup.id}"
        )
    train_set_up(setup)


def main(arguments: Sequence[str]) -> None:
    """Start what the overrides say, or continue a run: ``resume <run>``.

    Overrides alone are checked by this project; Hydra's own flags (--multirun, --cfg, …) go to Hydra.
    Under torchrun several processes share the batches; the exit status is then torchrun's, 1 for any but 0.
    """
    if arguments[:1] == ["resume"]:
        cli.main(lambda: resume(" ".join(arguments[1:])))
    elif not any(argument.startswith("-") for argument in arguments):
        cli.main(lambda: start(arguments))
    else:
        end_imports()
        register()
        hydra.main(str(cli.CONFIGS), "train", version_base="1.3")(_start_job)()


def _start_job(config: DictConfig) -> None:
    """One job of Hydra's, wherever Hydra has gone for it."""
    os.chdir(HydraConfig.get().runtime.cwd)
    cli.check_choices(HydraConfig.get().overrides.task)
    cli.finish_config(config)
    config.command = make_command(HydraConfig.get().overrides.task)
    train(config)


if __name__ == "__main__":
    main(sys.argv[1:])
