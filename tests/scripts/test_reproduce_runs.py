"""Runs side by side: they are what `make train` makes, whatever fails or is stopped beside them."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from scripts import cli
from scripts.reproduce import reproduce
from scripts.reproducing.jobs import Job, list_jobs
from scripts.reproducing.runner import log_of, run_jobs, tell
from scripts.runs import set_up
from scripts.train import main as train
from tasks.training.run_directory import RunDirectory

TINY = ["data.train=96", "data.dev=30", "data.test=30", "trainer.epochs=1", "task.hidden_size=16"]
LONGER = ["data.train=240", "data.dev=30", "data.test=30", "trainer.epochs=3", "task.hidden_size=16"]
LONGER += ["trainer.checkpoint_every=1"]
TIMES = ("seconds", "tokens_per_second", "peak_memory_mb", "history", "commit", "details")
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records() -> dict[str, dict[str, Any]]:
    """What the records here say, apart from what takes another time each time."""
    found = {path.stem: json.loads(path.read_text()) for path in Path("results/runs").glob("*.json")}
    return {name: {key: of[key] for key in of if key not in TIMES} for name, of in found.items()}


def until(happens: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
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
            time.sleep(600)

    holder = PROCESSES.Process(target=hold)
    holder.start()
    until(lambda: run.lock.exists() and bool(run.lock.read_text()))
    try:
        yield
    finally:
        holder.kill()
        holder.join()


def test_a_run_is_what_make_train_makes_and_one_that_fails_leaves_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = list_jobs(["snli"], "mini", [1], TINY)[:3]
    jobs[1] = replace(jobs[1], arguments=("data.train=10",))
    failures = run_jobs(jobs, at_once=2, threads=1)
    assert [failure.job for failure in failures] == [jobs[1]]
    assert "train must be a positive multiple of 3, got 10" in failures[0].reason
    assert jobs[1].command in tell(failures)
    said = capfd.readouterr().out
    assert "3/3" in said and "test accuracy, % " in said and f"{jobs[1].name}  0:0" in said
    assert "not the paper's: trained on mini, tier mini" in log_of(jobs[0]).read_text()
    here = records()
    assert {of["mapping"] for of in here.values()} == {"softmax", "fusedmax"}
    (folder / "alone").mkdir()
    monkeypatch.chdir(folder / "alone")
    train(jobs[2].overrides)
    assert records().items() <= here.items()


def test_stopped_twice_it_ends_as_if_it_never_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--table", "snli", "--tier", "mini", "--seeds", "1", "--jobs", "2", *LONGER]
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
    assert len(stopped) == 5
    (folder / "whole").mkdir()
    monkeypatch.chdir(folder / "whole")
    assert run_jobs(list_jobs(["snli"], "mini", [1], LONGER)[::-1], at_once=2, threads=1) == []
    assert records() == stopped


def test_a_run_in_use_is_waited_for_and_a_preempted_one_gets_another_turn(
    capfd: pytest.CaptureFixture[str],
) -> None:
    job: Job = list_jobs(["snli"], "mini", [1], LONGER)[0]
    run = set_up(cli.read_config(job.overrides)).directory
    process = PROCESSES.Process(target=lambda: os._exit(len(run_jobs([job], at_once=1, threads=1))))
    with another_holds(run):
        process.start()
        until(lambda: log_of(job).exists() and "waiting: " in log_of(job).read_text())
    until(lambda: bool(checkpoints()))
    for child in holders():
        os.kill(child, signal.SIGTERM)
    process.join()
    assert process.exitcode == 0
    assert "was asked to stop and waits for its turn" in capfd.readouterr().out
    assert len(records()) == 1
