"""A run from its setup to its record: trained under whatever watches it, tested, and written down."""

from __future__ import annotations

import os
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from scripts.cli import UsageError, sentence
from scripts.runs.config import compose_config, missing_keys, plain, read_config, recipe_of
from scripts.runs.setup import Setup, set_up
from scripts.style import check_drawing, draw_grid
from tasks._registry import TASKS
from tasks.checks import counted
from tasks.data.files import write_atomically, write_json_atomically
from tasks.training.callbacks import Callback, Progress, StartEvent, StepEvent
from tasks.training.distributed import enter_on_rank_zero, init_distributed, on_rank_zero
from tasks.training.fit import count_steps, evaluate, fit
from tasks.training.provenance import commit, versions
from tasks.training.records import Record, find_record, write_results
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import describe_device
from tasks.training.state import Counters, get_rng_state, set_rng_state
from tasks.training.task import Batch, Task


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
    # make expands a $ of its command line, except two of them.
    arguments = [f"ARGS={shlex.quote(' '.join(rest).replace('$', '$$'))}"] if rest else []
    return " ".join(["make", "train", *named, *arguments])


def portable(overrides: Sequence[str]) -> list[str]:
    """Overrides without the folder of the data, where there is one that `make data` fills for anybody."""
    others = [override for override in overrides if not override.startswith("data.root=")]
    is_known = others != list(overrides) and "data.root" not in missing_keys(compose_config(others))
    return others if is_known else list(overrides)


def prepare(overrides: Sequence[str]) -> Setup:
    """What the overrides stand for, with the command that they are."""
    config = read_config(overrides)
    config.command = make_command(portable(overrides))
    return set_up(config)


def train(setup: Setup) -> None:
    """One run to its record, in as many processes as there are. A finished run is shown, not repeated."""
    with init_distributed(setup.device):
        _train(setup)


def _train(setup: Setup) -> None:
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

    with enter_on_rank_zero(setup.directory) as run:
        on_rank_zero(begin)
        steps = count_steps(setup.task, setup.trainer)
        optimizer, scheduler = setup.optim.build(setup.task.model.parameters(), steps)
        result = fit(
            setup.task, optimizer, setup.trainer, run,
            config_hash=setup.hash, commit=code, scheduler=scheduler, callbacks=callbacks,
        )  # fmt: skip
        on_rank_zero(partial(finalize, setup, run, result, experiment))


class _Start(Callback):
    """Keeps what a run is made of, once a checkpoint there is known to be its own; says how it begins."""

    def __init__(self, setup: Setup, run: RunDirectory) -> None:
        self.setup, self.run = setup, run

    def on_start(self, event: StartEvent) -> None:
        write_json_atomically(self.run.config, plain(self.setup.config))
        write_json_atomically(self.run.vocabulary, self.setup.task.vocabulary.to_json())
        self._show(event.notes)

    def on_step(self, event: StepEvent) -> None:
        self._show(event.notes)

    def _show(self, notes: Sequence[str]) -> None:
        if notes and not self.setup.config.progress:  # which says it otherwise
            print("\n".join(notes), flush=True)


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
    if setup.config.logger._target_ != "scripts.loggers.NoLogger":
        print("its curves are not written: a logger watches a training, and nothing was trained now")
    return True


def _announce(setup: Setup) -> None:
    corpus, task = setup.task.corpus, setup.task
    sizes = ", ".join(f"{n:,} {split}" for split, n in corpus.sizes.items())
    print(f"corpus {corpus.name} ({corpus.sha256[:12]}): {sizes} pairs")
    threads = setup.trainer.threads or torch.get_num_threads()
    device = f"{describe_device(setup.device)}, {counted(threads, 'thread')}, {setup.trainer.precision}"
    for note in (*(corpus.notes or ["nothing dropped"]), *task.data_notes, f"device {device}", *setup.notes):
        print(note)
    print(f"run {setup.id}", flush=True)  # a full disk there is better known now than after the training


# What the record keeps of an epoch's entry.
_HISTORY = ("epoch", "step", "loss", "seconds", "dev", "attention")


def finalize(setup: Setup, run: RunDirectory, result: Counters, experiment: str) -> None:
    """Test what was trained, write everything down, the record last, and report."""
    try:
        record, picture = _write(setup, run, result, experiment)
    except OSError as error:
        raise UsageError(
            f"{sentence(error)}; the training is finished and kept in {run.path}, "
            f"the same command writes its record without training again"
        ) from error
    _report(setup, record, picture)


def _write(setup: Setup, run: RunDirectory, result: Counters, experiment: str) -> tuple[Record, Path]:
    record = _record(setup, result, experiment)
    title = f"{setup.mapping_name}, {setup.task.corpus.name}"
    grid = setup.task.example()
    picture = draw_grid(run.path / "attention.png", grid, title)
    # Those of dev are of the last epoch, the record's figures of the best.
    for split in setup.task.corpus.test_splits:
        lines = (f"{line}\n".encode() for line in setup.task.outputs[split])
        write_atomically(run.outputs(split), lines)
    kept = write_results(Path(setup.config.results_dir), record, setup.details(grid))
    if (kept.seconds, kept.commit) != (record.seconds, record.commit):
        print(f"{setup.id} was recorded by another process meanwhile: its record is kept, and shown here")
    return kept, picture


def _record(setup: Setup, result: Counters, experiment: str) -> Record:
    corpus = setup.task.corpus
    with setup.trainer.autocast(setup.device):
        share = mapping_share(setup.task, setup.mapping)
    progress = Progress() if setup.config.progress else Callback()
    try:
        tests = {
            split: evaluate(setup.task, split, "the training", setup.trainer, [progress])
            for split in corpus.test_splits
        }
    finally:
        progress.on_end()
    seconds = {"total": result.seconds, "per_epoch": result.seconds_per_epoch, "mapping_share": share}
    return Record(
        id=setup.id,
        task=setup.config.task_name,
        mapping=setup.mapping_name,
        mapping_params={name: float(setup.config.attention[name]) for name in setup.mapping.strengths},
        tier=setup.config.tier,
        experiment=experiment,
        corpus={
            "name": corpus.name,
            "sha256": corpus.sha256,
            "sizes": corpus.sizes,
            **{f"{name}_sha256": value for name, value in setup.task.inputs.items() if name != "corpus"},
        },
        seed=setup.config.seed,
        metrics={"dev": result.dev, **tests},
        seconds={name: round(value, 4) for name, value in seconds.items()},
        epochs=len(result.history),
        best_epoch=result.best_epoch,
        tokens_per_second=round(result.tokens_per_second, 1),
        peak_memory_mb=round(peak_memory_mb(setup.device), 1),
        threads=torch.get_num_threads(),
        device=", ".join(result.origins["device"]),
        precision=", ".join(result.origins["precision"]),
        versions=versions(),
        commit=", ".join(result.origins["commit"]),
        config=plain(setup.config),
        command=setup.config.command,
        signatures=setup.task.signatures,
        history=[{name: epoch[name] for name in _HISTORY if name in epoch} for epoch in result.history],
    )


def _report(setup: Setup, record: Record, picture: Path) -> None:
    size = counted(record.corpus["sizes"]["train"], "training pair")
    print(f"\n{record.mapping} on {record.corpus['name']} ({record.tier}, {size})")
    print(setup.task.summarize(record.metrics))
    print(
        f"epochs {record.epochs}, best {record.best_epoch}; {record.seconds['per_epoch']:.1f} s each, "
        f"{record.seconds['mapping_share']:.1%} of a step in the mapping; {record.peak_memory_mb:,.0f} MiB"
    )
    if record.tier != "paper":
        print(_caveat(record))
    print(f"record {setup.record_file}\npicture {picture}")


def _caveat(record: Record) -> str:
    """Says whose result this is not."""
    sources = "; ".join(source.name for source in TASKS[record.task].sources.get("paper", ()))
    known = f"; the paper's data: {sources}" if sources else ""
    return f"not the paper's: trained on {record.corpus['name']}, tier {record.tier}{known}"


# ------------------------------------------------------------------ what a training costs
_Call = tuple[tuple[Any, ...], dict[str, Any]]
_REPEATS = 3


def mapping_share(task: Task[Batch], module: nn.Module, batches: int = 20) -> float:
    """Measure the share of a training step that passes in ``module``, the attention's mapping: about 0 to 1.

    A step is forward and backward on one of the first epoch's batches, without the update. What the module
    was given in it is kept, and forward and backward of the module alone are timed on that. Both are medians
    of a few repetitions, summed over the batches. Weights, gradients, buffers and the random state are left
    as they were.

    Raises:
        ValueError: a step does not call ``module``.
    """
    in_module = in_step = 0.0
    with _left_as_it_was(task.model):
        for batch in task.train_batches(1)[:batches]:
            # The first step also warms up whatever compiles on its first call.
            calls = _record_calls(task, module, batch)
            if not calls:
                raise ValueError(f"a step must call the {type(module).__name__} to be timed, got no call")
            in_step += _median_seconds(partial(_step, task, batch))
            in_module += _median_seconds(partial(_differentiate, module, calls))
    return in_module / in_step


def peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory in use so far, in MiB: of this process, or of torch on a CUDA ``device``."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _step(task: Task[Batch], batch: Batch) -> None:
    task.step(batch)[0].backward()


def _record_calls(task: Task[Batch], module: nn.Module, batch: Batch) -> list[_Call]:
    calls: list[_Call] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((tuple(map(_leaf, args)), {name: _leaf(value) for name, value in kwargs.items()}))

    handle = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        _step(task, batch)
    finally:
        handle.remove()
    return calls


def _leaf(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _differentiate(module: nn.Module, calls: Sequence[_Call]) -> None:
    for args, kwargs in calls:
        weights = module(*args, **kwargs)
        if weights.requires_grad:
            weights.backward(torch.ones_like(weights))


def _median_seconds(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        _wait_for_device()
        begun = time.perf_counter()
        work()
        _wait_for_device()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _wait_for_device() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    random, modes = get_rng_state(), [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.zero_grad()  # apart, since backward adds to the tensors that are there
    model.train()
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for buffer, values in buffers:
            buffer.copy_(values)
        for module, mode in modes:
            module.training = mode
        set_rng_state(random)
