"""What a finished training leaves: a picture, outputs, details, the record; and what it says at its end."""

from __future__ import annotations

from pathlib import Path

import torch

from scripts.cli import UsageError, sentence
from scripts.runs.config import plain
from scripts.runs.setup import Setup
from tasks._registry import TASKS
from tasks.training.atomic import write_atomically
from tasks.training.details import write_results
from tasks.training.fit import FitResult, evaluate
from tasks.training.profiling import mapping_share, peak_memory_mb
from tasks.training.provenance import versions
from tasks.training.records import Record
from tasks.training.run_directory import RunDirectory

_HISTORY = ("epoch", "step", "loss", "seconds", "dev")  # of an epoch's entry, what the record keeps


def finalize(setup: Setup, run: RunDirectory, result: FitResult, experiment: str) -> None:
    """Test what was trained, write everything down, the record last, and report.

    Args:
        setup: the run.
        run: its directory.
        result: of its training.
        experiment: the recipe that it is, or "".

    Raises:
        UsageError: a file cannot be written; the same command tries again, without training.
        NonFiniteError: a metric is not finite.
        RecordError: there is a record of this run with another outcome.
    """
    try:
        record, picture = _write(setup, run, result, experiment)
    except OSError as error:
        raise UsageError(
            f"{sentence(error)}; the training is finished and kept in {run.path}, "
            f"the same command writes its record without training again"
        ) from error
    _report(setup, record, picture)


def _write(setup: Setup, run: RunDirectory, result: FitResult, experiment: str) -> tuple[Record, Path]:
    from scripts.heatmap import draw_grid  # and matplotlib, which nothing before the end of a run needs

    record = _record(setup, result, experiment)
    title = f"{setup.mapping_name}, {setup.task.corpus.name}"
    grid = setup.task.example()
    picture = draw_grid(run.path / "attention.png", grid, title)
    # Those of dev are of the last epoch, the record's figures of the best.
    for split in setup.task.corpus.test_splits:
        lines = (f"{line}\n".encode() for line in setup.task.outputs[split])
        write_atomically(run.outputs(split), lines)
    return write_results(Path(setup.config.results_dir), record, setup.details(grid)), picture


def _record(setup: Setup, result: FitResult, experiment: str) -> Record:
    corpus = setup.task.corpus
    with setup.trainer.autocast(setup.device):
        share = mapping_share(setup.task, setup.mapping)
    tests = {split: evaluate(setup.task, split, "the training") for split in corpus.test_splits}
    seconds = {"total": result.seconds, "per_epoch": result.seconds_per_epoch, "mapping_share": share}
    return Record(
        id=setup.id,
        task=setup.config.task_name,
        mapping=setup.mapping_name,
        mapping_params={name: float(value) for name, value in setup.mapping.strengths.items()},
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
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        tokens_per_second=round(result.tokens_per_second, 1),
        peak_memory_mb=round(peak_memory_mb(setup.device), 1),
        threads=torch.get_num_threads(),
        device=", ".join(result.origins["device"]),
        versions=versions(),
        commit=", ".join(result.origins["commit"]),
        config=plain(setup.config),
        command=setup.config.command,
        signatures=setup.task.signatures,
        history=[{name: epoch[name] for name in _HISTORY} for epoch in result.history],
    )


def _report(setup: Setup, record: Record, picture: Path) -> None:
    size = f"{record.corpus['sizes']['train']:,} training pairs"
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
    sources = "; ".join(source.name for source in TASKS[record.task].sources["paper"])
    return (
        f"not the paper's: trained on {record.corpus['name']}, tier {record.tier}; "
        f"the paper's data: {sources}"
    )
