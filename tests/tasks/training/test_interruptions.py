"""Runs that are killed or asked to stop at any moment end, when continued, as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forked import Child, needs_fork
from tiny_run import Recorder, TinyTask, outcome, train

from scripts import cli
from tasks.data import files
from tasks.training import signals
from tasks.training.checkpoint import load_latest
from tasks.training.run_directory import RunDirectory, RunInUseError

pytestmark = needs_fork
STEPS = 24


def run(path: Path) -> None:
    """A run that saves after every other step, so that it is often killed while it saves."""
    train(path, checkpoint_every=2)


def logged(path: Path) -> int:
    """Steps in the log of a run."""
    log = path / "metrics.jsonl"
    return log.read_bytes().count(b'"event": "step"') if log.exists() else 0


# ------------------------------------------------------------------ kill -9
def wait_for_a_moment(child: Child, path: Path, chance: random.Random) -> None:
    """Until a random step is logged, and a little longer: by steps, for a busy machine takes longer."""
    step = chance.randrange(STEPS)
    while logged(path) < step and not child.has_ended():
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.01))


def killed(path: Path, chance: random.Random) -> int:
    """Start or continue a run and kill it at a random moment of its life; return the steps it had made."""
    while True:
        child = Child(partial(run, path))
        wait_for_a_moment(child, path, chance)
        child.send()
        if child.wait() == -signal.SIGKILL:
            return logged(path)
        shutil.rmtree(path)  # it was over before


def test_killed_at_any_moment_a_run_ends_the_same(
    tmp_path: Path, whole: dict[str, Any], measure: Any
) -> None:
    chance, row, same, at = random.Random(0), measure("kill"), [], set()
    for trial in range(row.n):
        path = tmp_path / str(trial)
        at.add(killed(path, chance))
        if chance.random() < 0.3:
            at.add(killed(path, chance))
        same.append(outcome(path, *train(path, checkpoint_every=2)) == whole)
    row.all(same, threads=1, dtype="float32", after_steps=f"{min(at)}-{max(at)}")


# ------------------------------------------------------------------ signals
class Requests(signals.StopRequest):
    """Remembers the last request to stop, and the step after which it came."""

    last = signals.StopRequest()
    step = 0
    came_after: int | None = None

    def __init__(self) -> None:
        Requests.last = self

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "signal" and Requests.came_after is None:
            Requests.came_after = Requests.step


def made(step: int) -> None:
    Requests.step = step
    time.sleep(0.002)


def run_told_twice(path: Path, number: int) -> None:
    """A run that gets a second signal during the save that the first one led to; ends as the command does."""
    own = os.fsync

    def fsync(descriptor: int) -> None:
        if Requests.last.signal:
            os.kill(os.getpid(), number)
            (path / "told twice").write_text(str(Requests.came_after))
        own(descriptor)

    signals.StopRequest = Requests  # type: ignore[misc]
    files.os.fsync = fsync
    cli.main(lambda: train(path, callback=Recorder(made)))  # type: ignore[arg-type,return-value]


def stopped(path: Path, number: int, chance: random.Random) -> int:
    """Start a run, stop it at a random moment after its first step, and return its exit code."""
    while True:
        child = Child(partial(run_told_twice, path, number))
        while not logged(path) and not child.has_ended():
            time.sleep(0.001)
        wait_for_a_moment(child, path, chance)
        child.send(number)
        code = child.wait()
        if code not in (0, -number) or logged(path) < STEPS:
            return code
        shutil.rmtree(path)  # it was over before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_stopped_at_any_moment_a_run_says_so_and_ends_the_same(
    tmp_path: Path, whole: dict[str, Any], number: signal.Signals, measure: Any
) -> None:
    chance, row = random.Random(number), measure(f"{number.name}")
    for trial in range(row.n):
        path = tmp_path / str(trial)
        code = stopped(path, number, chance)
        at = load_latest(path / "checkpoint.ckpt").state["run"]["step"]
        told = path / "told twice"
        # Where there is no such file the first signal came at the end of the save that follows an epoch.
        steps = at - int(told.read_text()) if told.exists() else 0
        is_saved = code == os.EX_TEMPFAIL and at == logged(path) and steps in (0, 1)
        result, task = train(path)
        row.all(
            is_saved and outcome(path, result, task) == whole,
            exit_code=code,
            steps=steps,
            twice=told.exists(),
        )
        assert result.notes == (f"resumed at step {at}",)


class Endless(TinyTask):
    """Its evaluation after the epoch ``last`` has no end; ``path`` then holds a file ``evaluating``."""

    def __init__(self, path: Path, last: int) -> None:
        super().__init__()
        self.path, self.evaluations_left = path, last

    def evaluate(self, split: str, **options: Any) -> dict[str, float]:
        self.evaluations_left -= 1
        if self.evaluations_left == 0:
            (self.path / "evaluating").touch()
        while self.evaluations_left == 0:
            super().evaluate(split, **options)
        return super().evaluate(split, **options)


def wait_for(file: Path, child: Child) -> None:
    while not file.exists() and not child.has_ended():
        time.sleep(0.001)


def test_an_evaluation_is_broken_off_and_begun_again(
    tmp_path: Path, whole: dict[str, Any], measure: Any
) -> None:
    """The state saved is that before the evaluation; how long that takes is told as a share of 5 s."""
    chance, row = random.Random(0), measure("SIGTERM in evaluation")
    for trial in range(row.n):
        path, last = tmp_path / str(trial), chance.randrange(3) + 1
        child = Child(partial(cli.main, lambda p=path, n=last: train(p, task=Endless(p, n))))
        wait_for(path / "evaluating", child)
        time.sleep(chance.uniform(0, 0.05))
        begun = time.monotonic()
        child.send(signal.SIGTERM)
        is_saved = child.wait() == os.EX_TEMPFAIL
        row.add(0, worst=(time.monotonic() - begun) / 5)
        state = load_latest(path / "checkpoint.ckpt").state["run"]
        is_saved &= (state["step"], len(state["history"])) == (8 * last, last - 1)
        row.all(is_saved and outcome(path, *train(path)) == whole, after_epoch=last)


def stand_still(now: int, step: int, path: Path) -> None:
    """Like a step that takes for ever."""
    while now == step:
        (path / "standing").touch()
        time.sleep(0.001)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, whole: dict[str, Any], measure: Any) -> None:
    """In a step that has no end; what was saved before it is kept."""
    chance, row = random.Random(0), measure("second Ctrl-C")
    for trial in range(row.n):
        path, step = tmp_path / str(trial), chance.randrange(STEPS) + 1
        watch = Recorder(partial(stand_still, step=step, path=path))
        child = Child(partial(cli.main, lambda p=path, w=watch: train(p, callback=w, checkpoint_every=2)))
        wait_for(path / "standing", child)
        while not child.has_ended():  # two that come together count as one
            child.send(signal.SIGINT)
            time.sleep(0.01)
        is_stopped = child.wait() == os.EX_TEMPFAIL
        row.all(is_stopped and outcome(path, *train(path)) == whole, steps=step)


# ------------------------------------------------------------------ two processes on one directory
def contend(folder: Path, name: str) -> None:
    """Enter the run directory and wait until another process was refused, or be refused and say how."""
    refusals = folder / "refusals"
    try:
        with RunDirectory(folder / "run"):
            (folder / "holder").write_text(str(os.getpid()))
            while not refusals.exists():
                time.sleep(0.005)
    except RunInUseError as error:
        (folder / name).write_text(str(error))
        os.replace(folder / name, refusals)


def test_of_two_processes_one_is_refused_and_told_of_the_other(tmp_path: Path, measure: Any) -> None:
    row = measure("two processes")
    for trial in range(row.n):
        folder = tmp_path / str(trial)
        folder.mkdir()
        children = [Child(partial(contend, folder, name)) for name in ("first", "second")]
        assert [child.wait() for child in children] == [0, 0]
        holder = (folder / "holder").read_text()
        wanted = f"in use by process {holder} on {socket.gethostname()}; wait for it or end it"
        row.all(wanted in (folder / "refusals").read_text())


# ------------------------------------------------------------------ the same seed
def test_three_runs_of_one_seed_have_the_same_bits(tmp_path: Path, measure: Any) -> None:
    """Two in this process with other numbers drawn before, one in another; batches are made in no third."""
    row = measure("same seed", parts=3)
    for seed in range(row.n):
        paths = [tmp_path / f"{seed}-{k}" for k in range(3)]
        assert Child(partial(train, paths[0], seed=seed)).wait() == 0
        random.seed(seed)
        first = outcome(paths[1], *train(paths[1], seed=seed))
        again = outcome(paths[2], *train(paths[2], seed=seed))
        elsewhere = outcome(paths[0], *train(paths[0], seed=seed))
        row.all([first == again, first == elsewhere, elsewhere == again], threads=1)
