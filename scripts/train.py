"""Train a model, test it, and leave its record: `make train TASK=snli ATTN=fusedmax`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from scripts import cli
from scripts.cli import UsageError
from scripts.comparing.paper import read_paper
from scripts.pictures import draw_grid
from scripts.runs import Setup, find_run, read_run_config, set_up
from scripts.schema import register
from tasks.training.atomic import write_atomically
from tasks.training.cost import mapping_share, peak_memory_mb
from tasks.training.details import write_details
from tasks.training.fit import FitResult, count_steps, fit
from tasks.training.observers import Observer
from tasks.training.processes import Processes, join
from tasks.training.progress import Progress
from tasks.training.records import Record, commit, versions, write_json_atomically, write_record
from tasks.training.rundir import RunDirectory

_HISTORY = ("epoch", "step", "loss", "seconds", "dev")  # of an epoch's entry, what the record keeps


def train(config: DictConfig) -> None:
    """One run from config to record. A finished run is shown, not repeated."""
    train_set_up(set_up(config))


def train_set_up(setup: Setup) -> None:
    """One run of what a config stands for."""
    with join(setup.device) as processes:
        train_as(setup, processes)


def train_as(setup: Setup, processes: Processes, watchers: Sequence[Observer] = ()) -> None:
    """The same of what is built and joined already; ``watchers`` are told after the loggers."""
    config = setup.config
    record_file = setup.record_file
    if processes.first(partial(_is_finished, setup, record_file)):
        return
    processes.first(partial(_check_writable, config))
    observers: list[Observer] = []

    def begin() -> None:
        _announce(setup)
        write_json_atomically(run.config, cli.plain(config))
        write_json_atomically(run.vocabulary, setup.task.vocabulary.to_json())
        observers.append(instantiate(config.logger, _partial_=True)(setup.id, run.path, cli.plain(config)))
        if config.progress:
            observers.append(Progress(shown=setup.task.shown))
        observers.extend(watchers)

    def finish() -> None:
        record = _record(setup, result)
        title = f"{setup.mapping.function.__name__}, {setup.task.corpus.name}"
        grid = setup.task.example()
        picture = draw_grid(run.path / "attention.png", grid, title)
        # Those of dev are of the last epoch, the record's figures of the best.
        for split in setup.task.corpus.test_splits:
            lines = (f"{line}\n".encode() for line in setup.task.outputs[split])
            write_atomically(run.outputs(split), lines)
        sha256 = write_details(Path(config.results_dir) / "details", setup.details(grid))
        record = replace(record, details=sha256)
        write_record(record_file.parent, record)
        _report(setup, record, record_file, picture)

    with processes.enter_on_first(setup.directory) as run:
        processes.first(begin)
        result = _fit(setup, run, observers, processes)
        processes.first(finish)


def _check_writable(config: DictConfig) -> None:
    """Refuse now what the file system would refuse after the training."""
    for name in ("output_dir", "results_dir"):
        folder = Path(config[name]).absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UsageError(f"{name} must be a folder that can be written, got {config[name]}")


def _is_finished(setup: Setup, record_file: Path) -> bool:
    if record_file.exists():
        print(f"{setup.id} is finished already, its record is {record_file}")
        print('to run it again beside that one: ARGS="results_dir=again output_dir=again …"')
    return record_file.exists()


def _fit(setup: Setup, run: RunDirectory, observers: Sequence[Observer], processes: Processes) -> FitResult:
    steps = count_steps(setup.task, setup.trainer)
    optimizer, scheduler = setup.optim.build(setup.task.model.parameters(), steps)
    return fit(
        setup.task,
        optimizer,
        setup.trainer,
        run,
        config_hash=setup.hash,
        scheduler=scheduler,
        observers=observers,
        processes=processes,
    )


def _announce(setup: Setup) -> None:
    corpus, task = setup.task.corpus, setup.task
    sizes = ", ".join(f"{n:,} {split}" for split, n in corpus.sizes.items())
    print(f"corpus {corpus.name} ({corpus.sha256[:12]}): {sizes} pairs")
    for note in (*(corpus.notes or ["nothing dropped"]), *task.data_notes):
        print(note)
    print(f"run {setup.id}")


def _record(setup: Setup, result: FitResult) -> Record:
    corpus = setup.task.corpus
    with setup.trainer.autocast(setup.device):
        share = mapping_share(setup.task, setup.mapping)
    tests = {split: setup.task.evaluate(split) for split in corpus.test_splits}
    seconds = {"total": result.seconds, "per_epoch": result.seconds_per_epoch, "mapping_share": share}
    return Record(
        id=setup.id,
        task=setup.config.task_name,
        mapping=setup.mapping.function.__name__,
        mapping_params={name: float(value) for name, value in setup.mapping.strengths.items()},
        tier=setup.config.tier,
        corpus={
            "name": corpus.name,
            "sha256": corpus.sha256,
            "sizes": corpus.sizes,
            **{f"{name}_sha256": value for name, value in setup.task.inputs.items() if name != "corpus"},
        },
        seed=setup.config.seed,
        metrics={"dev": result.dev, **tests},
        seconds={name: round(value, 4) for name, value in seconds.items()},
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        tokens_per_second=round(result.tokens_per_second, 1),
        peak_memory_mb=round(peak_memory_mb(setup.device), 1),
        threads=torch.get_num_threads(),
        device=str(setup.device),
        versions=versions(),
        commit=commit(),
        config=cli.plain(setup.config),
        command=setup.config.command,
        signatures=setup.task.signatures,
        history=[{name: epoch[name] for name in _HISTORY} for epoch in result.history],
    )


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


def _report(setup: Setup, record: Record, record_file: Path, picture: Path) -> None:
    size = f"{record.corpus['sizes']['train']:,} training pairs"
    print(f"\n{record.mapping} on {record.corpus['name']} ({record.tier}, {size})")
    print(setup.task.summarize(record.metrics))
    print(
        f"epochs {record.epochs}, best {record.best_epoch}; {record.seconds['per_epoch']:.1f} s each, "
        f"{record.seconds['mapping_share']:.1%} of a step in the mapping; {record.peak_memory_mb:,.0f} MiB"
    )
    if record.tier != "paper":
        print(_caveat(record))
    print(f"record {record_file}\npicture {picture}")


def _caveat(record: Record) -> str:
    """Says whose result this is not."""
    corpora = {table.task: table.corpus for table in read_paper().tables.values()}
    return (
        f"not the paper's: trained on {record.corpus['name']}, tier {record.tier}; "
        f"the paper's data: {corpora[record.task]}"
    )


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
        register()
        hydra.main(str(cli.CONFIGS), "train", version_base="1.3")(_start_job)()


def _start_job(config: DictConfig) -> None:
    """One job of Hydra's, wherever Hydra has gone for it."""
    os.chdir(HydraConfig.get().runtime.cwd)
    cli.finish_config(config)
    config.command = make_command(HydraConfig.get().overrides.task)
    train(config)


if __name__ == "__main__":
    main(sys.argv[1:])
