"""Runs side by side: they are what `make train` makes, whatever fails or is stopped beside them."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from scripts import cli
from scripts.reproduce import list_runs, reproduce
from scripts.runs.config import read_config
from scripts.runs.runner import Job, launch
from scripts.runs.setup import set_up
from scripts.train import main as train
from tasks.training.run_directory import RunDirectory

TINY = ["data.train=96", "data.dev=30", "data.test=30", "trainer.epochs=1", "task.hidden_size=16"]
LONGER = ["data.train=240", "data.dev=30", "data.test=30", "trainer.epochs=3", "task.hidden_size=16"]
LONGER += ["trainer.checkpoint_every=1"]
TIMES = ("seconds", "tokens_per_second", "peak_memory_mb", "history", "commit", "details")
THREE = ("softmax", "sparsemax", "fusedmax")
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records() -> dict[str, dict[str, Any]]:
    """What the records here say, apart from what takes another time each time."""
    found = {path.stem: json.loads(path.read_text()) for path in Path("results/runs").glob("*.json")}
    return {name: {key: of[key] for key in of if key not in TIMES} for name, of in found.items()}


def until(happens: Callable[[], bool]) -> None:
    while not happens():
        time.sleep(0.01)


def checkpoints() -> list[Path]:
    return list(Path("runs").glob("*/checkpoint.ckpt"))


def holders() -> set[int]:
    """Processes that train here."""
    words = [lock.read_text().split() for lock in Path("runs").glob("*/run.lock")]
    return {int(word[1]) for word in words if word and Path(f"/proc/{word[1]}").exists()}


@contextmanager
def reproducing(arguments: list[str]) -> Iterator[BaseProcess]:
    """`make reproduce` in a process of its own, on its way."""

    def main() -> None:
        cli.main(lambda: os._exit(reproduce(arguments)))

    process = PROCESSES.Process(target=main)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@contextmanager
def another_holds(run: RunDirectory) -> Iterator[None]:
    """Lock a run in another process: a lock of this one would be its children's too."""

    def hold() -> None:
        with run:
            time.sleep(3600)

    holder = PROCESSES.Process(target=hold)
    holder.start()
    until(lambda: run.lock.exists() and bool(run.lock.read_text()))
    try:
        yield
    finally:
        holder.kill()
        holder.join()


def test_runs_are_those_of_make_train_and_fail_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [run.job for run in list_runs(["snli"], "mini", [1], TINY)[:3]]
    jobs[1] = replace(jobs[1], overrides=(*jobs[1].overrides, "data.train=10"))
    why = launch(jobs, "basic", 2, folder / "logs")
    assert [bool(reason) for reason in why] == [False, True, False]
    assert "exit status 2: error: train must be a positive multiple of 3, got 10" in why[1]
    said = capsys.readouterr().out
    assert f"{jobs[0].name}  0:" in said and f"  {why[1]}\n" in said
    assert "not the paper's: trained on mini, tier mini" in jobs[0].log_in(folder / "logs").read_text()
    here = records()
    assert {of["mapping"] for of in here.values()} == {"softmax", "fusedmax"}
    (folder / "alone").mkdir()
    monkeypatch.chdir(folder / "alone")
    train(jobs[2].overrides)
    assert records().items() <= here.items()


def test_what_failed_is_told_with_its_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--table", "snli", "--mappings", "softmax,fusedmax", "--seeds", "1", "--jobs", "3"]
    assert reproduce([*arguments, *TINY, "task.dropout=2"]) == 1
    out, err = capsys.readouterr()
    assert "0 of 2 runs done, 2 to run, 3 at once" in out and err.startswith("2 failed; each again:\n")
    assert "make train ATTN=fusedmax ARGS='experiment=mini/snli seed=1 data.train=96" in err
    assert err.count("exit status 2: error: dropout must be") == 2


def test_stopped_twice_it_ends_as_if_it_never_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--table", "snli", "--mappings", ",".join(THREE), "--seeds", "1", "--jobs", "2", *LONGER]
    with reproducing(arguments) as first:
        until(lambda: len(checkpoints()) >= 2)
        os.kill(first.pid or 0, signal.SIGTERM)
        first.join()
    assert first.exitcode == 75
    assert not holders()
    begun = set(checkpoints())
    with reproducing(arguments) as second:
        until(lambda: len(checkpoints()) > len(begun))
        os.kill(second.pid or 0, signal.SIGKILL)
        second.join()
    until(lambda: not holders())
    cut = set(checkpoints()) - begun
    assert cut and not cut & {Path("runs", name, "checkpoint.ckpt") for name in records()}
    assert reproduce(arguments) == 0
    stopped = records()
    assert len(stopped) == 3
    (folder / "whole").mkdir()
    monkeypatch.chdir(folder / "whole")
    for run in list_runs(["snli"], "mini", [1], LONGER, THREE)[::-1]:
        train(run.job.overrides)
    assert records() == stopped


def test_a_run_in_use_is_waited_for_a_preempted_one_begun_again(folder: Path) -> None:
    job: Job = list_runs(["snli"], "mini", [1], LONGER)[0].job
    run, log = set_up(read_config(job.overrides)).directory, job.log_in(folder / "logs")
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.extend(launch([job], "basic", 1, folder / "logs")))
    with another_holds(run):
        thread.start()
        until(lambda: log.exists() and "waiting: " in log.read_text())
    until(lambda: bool(checkpoints()))
    for child in holders():
        os.kill(child, signal.SIGTERM)
    thread.join()
    assert ended == [""]
    assert "stopped: SIGTERM stopped the run at step" in log.read_text()
    assert len(records()) == 1
