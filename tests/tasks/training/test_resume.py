"""A run that is stopped and continued takes the same steps, bit for bit, as one that is not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import Recorder, TinyTask, TinyVocabulary, outcome, train

from tasks.training import checkpoint
from tasks.training.callbacks import StepEvent
from tasks.training.checkpoint import CheckpointError
from tasks.training.provenance import versions
from tasks.training.run_directory import RunDirectory, RunInUseError
from tasks.training.signals import STOPPING, Preempted
from tasks.training.state import ResumeError, TrainState, best_weights

ROOT = Path(__file__).parents[3]


def interrupt(path: Path, step: int, number: int = signal.SIGUSR1, **settings: Any) -> str:
    """Train until ``step``, where a signal arrives; return the message."""

    def send(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), number)

    with pytest.raises(Preempted) as stopped:
        train(path, callback=Recorder(send), **settings)
    assert stopped.value.exit_code == 75
    return str(stopped.value)


@pytest.mark.parametrize("step", [1, 5, 7, 8, 9, 16, 23, 24])
def test_signal_then_resume_equals_uninterrupted(tmp_path: Path, whole: dict[str, Any], step: int) -> None:
    assert f"at step {step}" in interrupt(tmp_path, step)
    result, task = train(tmp_path)
    assert result.notes == (f"resumed at step {step}",)
    assert outcome(tmp_path, result, task) == whole


@pytest.mark.parametrize("number", STOPPING)
def test_every_stopping_signal_works_again_and_again(
    tmp_path: Path, whole: dict[str, Any], number: int
) -> None:
    for step in (3, 4, 12, 20):
        interrupt(tmp_path, step, number)
    assert outcome(tmp_path, *train(tmp_path)) == whole


def test_a_signal_during_the_evaluation_waits_for_its_end(
    tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(task: TinyTask, split: str, **options: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return own(task, split, **options)

    own = TinyTask.evaluate
    with monkeypatch.context() as patch, pytest.raises(Preempted, match="at step 8"):
        patch.setattr(TinyTask, "evaluate", evaluate)
        train(tmp_path)
    assert outcome(tmp_path, *train(tmp_path)) == whole


def test_a_signal_while_the_audience_leaves_is_heard(tmp_path: Path, whole: dict[str, Any]) -> None:
    recorder = Recorder()
    recorder.on_end = lambda: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore[method-assign]
    with pytest.raises(Preempted, match="at step 24"):
        train(tmp_path, callback=recorder)
    assert outcome(tmp_path, *train(tmp_path)) == whole


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_run_whose_directory_is_gone_ends_and_harms_no_other(
    tmp_path: Path, whole: dict[str, Any], is_replaced: bool
) -> None:
    path = tmp_path / "run"

    def remove(step: int) -> None:
        if step == 3:
            shutil.rmtree(path)
            if is_replaced:
                with RunDirectory(path):
                    pass

    with pytest.raises(RunInUseError, match="run was removed or replaced while a run was in it"):
        train(path, callback=Recorder(remove))
    assert not path.exists() or [file.name for file in path.iterdir()] == ["run.lock"]
    assert outcome(path, *train(path)) == whole


def test_a_run_goes_on_with_other_threads_but_says_so(tmp_path: Path) -> None:
    interrupt(tmp_path, 3)
    torch.set_num_threads(2)
    result, _ = train(tmp_path)
    assert result.notes == ("resumed at step 3", "made so far with threads 1, from here on with 2")
    assert result.origins == {
        "commit": ["unknown"], "device": ["cpu"], "threads": ["1", "2"], "precision": ["float32"],
    }  # fmt: skip


def test_the_speed_leaves_out_the_first_step_of_every_start(tmp_path: Path) -> None:
    recorders = []
    for step in (5, 9, None):
        recorders.append(
            Recorder(lambda now, last=step: now == last and os.kill(os.getpid(), signal.SIGUSR1))
        )
        with nullcontext() if step is None else pytest.raises(Preempted):
            result, _ = train(tmp_path, callback=recorders[-1])
    steps = [event for recorder in recorders for event in recorder.events if isinstance(event, StepEvent)]
    assert [event.step for event in steps if event.is_warmup] == [1, 6, 10]
    warm = [event for event in steps if not event.is_warmup]
    tokens, seconds = (
        sum(values) for values in zip(*((e.metric_sums["tokens"], e.seconds) for e in warm), strict=True)
    )
    assert result.tokens_per_second == pytest.approx(tokens / seconds)


def test_a_run_from_before_its_pace_was_kept_goes_on(tmp_path: Path, whole: dict[str, Any]) -> None:
    interrupt(tmp_path, 5)
    path = tmp_path / "checkpoint.ckpt"
    tensors, kept, _ = checkpoint.load(path)
    del kept["run"]["pace"]
    checkpoint.save(path, tensors, kept)
    result, task = train(tmp_path)
    assert outcome(tmp_path, result, task) == whole and result.tokens_per_second > 0


def test_a_run_names_all_code_that_made_it(tmp_path: Path) -> None:
    interrupt(tmp_path, 3, commit="a")
    interrupt(tmp_path, 5, commit="a")
    assert interrupt(tmp_path, 7, commit="b")
    result, _ = train(tmp_path, commit="b")
    assert result.origins["commit"] == ["a", "b"] and result.notes == ("resumed at step 7",)
    again, _ = train(tmp_path, commit="c")
    assert again.notes == ("resumed at step 24", "made so far with commit b, from here on with c")


def test_seconds_add_up(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        train(
            tmp_path, callback=Recorder(lambda step: (time.sleep(0.5), os.kill(os.getpid(), signal.SIGTERM)))
        )
    assert train(tmp_path)[0].seconds > 0.5


def test_killed_process_then_resume_equals_uninterrupted(tmp_path: Path, whole: dict[str, Any]) -> None:
    log = tmp_path / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("tiny_run.py")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 15):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    result, task = train(tmp_path)
    assert result.notes == ("resumed at step 12",)
    assert outcome(tmp_path, result, task) == whole


def test_damaged_checkpoint_then_resume_from_the_previous(tmp_path: Path, whole: dict[str, Any]) -> None:
    interrupt(tmp_path, 11, checkpoint_every=4)
    path = tmp_path / "checkpoint.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result, task = train(tmp_path)
    assert "checkpoint.ckpt is damaged" in result.notes[0] and ".previous was used" in result.notes[0]
    assert result.notes[1] == "resumed at step 8"
    assert outcome(tmp_path, result, task) == whole
    assert (tmp_path / "checkpoint.ckpt.damaged").read_bytes() == content


def test_finished_run_is_left_as_it_is(tmp_path: Path, whole: dict[str, Any]) -> None:
    first, _ = train(tmp_path)
    second, task = train(tmp_path)
    assert outcome(tmp_path, second, task) == whole
    assert second.history == first.history and second.seconds == first.seconds


@pytest.mark.parametrize(("max_steps", "stop"), [(11, 11), (11, 10), (16, 16), (16, 13)])
def test_max_steps_hold_over_a_resume(tmp_path: Path, max_steps: int, stop: int) -> None:
    whole = outcome(tmp_path / "a", *train(tmp_path / "a", max_steps=max_steps))
    interrupt(tmp_path / "b", stop, max_steps=max_steps)
    assert outcome(tmp_path / "b", *train(tmp_path / "b", max_steps=max_steps)) == whole
    assert [line["event"] for line in whole["log"]].count("step") == max_steps


def test_gamma_goes_on_falling_after_a_resume(tmp_path: Path) -> None:
    whole = outcome(tmp_path / "a", *train(tmp_path / "a", anneal_gamma=100.0))
    interrupt(tmp_path / "b", 5, anneal_gamma=100.0)
    assert outcome(tmp_path / "b", *train(tmp_path / "b", anneal_gamma=100.0)) == whole
    assert whole != outcome(tmp_path / "c", *train(tmp_path / "c"))


CRIPPLES: dict[str, Callable[[Any], object]] = {
    "torch's random state": lambda state: torch.manual_seed(99),
    "numpy's random state": lambda state: np.random.seed(99),
    "Python's random state": lambda state: random.seed(99),
    "the optimizer": lambda state: state.optimizer.state.clear(),
    "the scheduler's epochs": lambda state: state.scheduler.load_state_dict({"steps": 11, "epochs": 0}),
    "the scheduler's steps": lambda state: state.scheduler.load_state_dict({"steps": 0, "epochs": 1}),
    "the position": lambda state: setattr(state.counters, "batch", 0),
    "the epoch": lambda state: state.counters.history.clear(),
    "the metric_sums": lambda state: state.counters.metric_sums.update(loss=0.0),
    "the log's position": lambda state: setattr(state.counters, "log_bytes", 0),
}
PROMISING = [0.9, 0.5, 0.5, 0.5, 0.5]  # accuracies on dev, of which the first is the best


class Promising(TinyTask):
    """A task whose first epoch is its best one."""

    def evaluate(self, split: str, **options: Any) -> dict[str, float]:
        return {**super().evaluate(split, **options), "accuracy": PROMISING[self.epoch - 1]}

    def train_batches(self, epoch: int) -> Sequence[tuple[int, ...]]:
        self.epoch = epoch
        return super().train_batches(epoch)


@pytest.mark.parametrize("part", ["nothing", "best", "best_epoch", "weights"])
def test_a_resumed_run_remembers_its_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Stopped in the epoch after the best; every part of the memory is needed for that."""
    whole = outcome(tmp_path / "a", *train(tmp_path / "a", task=Promising(), epochs=5, patience=2))
    interrupt(tmp_path / "b", 11, task=Promising(), epochs=5, patience=2)
    resume = TrainState.resume

    def cripple(state: TrainState, path: Path) -> tuple[str, ...]:
        notes = resume(state, path)
        forgotten = {"best": None, "best_epoch": 0}
        if part == "weights":
            state.keep_best()
        elif part in forgotten:
            setattr(state.counters, part, forgotten[part])
        return notes

    monkeypatch.setattr(TrainState, "resume", cripple)
    result, task = train(tmp_path / "b", task=Promising(), epochs=5, patience=2)
    assert (outcome(tmp_path / "b", result, task) == whole) == (part == "nothing")
    assert part != "nothing" or (len(result.history), result.best_epoch) == (3, 1)


@pytest.mark.parametrize("part", CRIPPLES)
@pytest.mark.measures("crippled resume")
def test_resume_without_a_part_is_noticed(
    tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    interrupt(tmp_path, 11)
    resume = TrainState.resume

    def cripple(state: TrainState, path: Path) -> tuple[str, ...]:
        notes = resume(state, path)
        CRIPPLES[part](state)
        return notes

    monkeypatch.setattr(TrainState, "resume", cripple)
    assert outcome(tmp_path, *train(tmp_path)) != whole


class Wider(TinyTask):
    """What the same config has become in a later version of the code."""

    def __init__(self) -> None:
        super().__init__()
        self.model.embedding = torch.nn.Embedding(12, 9)


@pytest.mark.measures("bad checkpoint")
def test_resume_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path, 2)
    before = (tmp_path / "checkpoint.ckpt").read_bytes()
    with pytest.raises(ResumeError, match=r"checkpoint\.ckpt must have this run's config, other, got config"):
        train(tmp_path, config_hash="other")
    task = TinyTask()
    task.vocabulary = TinyVocabulary("letters")
    with pytest.raises(ResumeError, match="vocabulary, letters, got words"):
        train(tmp_path, task=task)
    with monkeypatch.context() as patch, pytest.raises(ResumeError, match=r"torch, 9\.9, got 2"):
        patch.setattr(torch, "__version__", "9.9")
        train(tmp_path)
    for package in ("python", "numpy", "numba", "safetensors"):
        said = f"{package}, 0.1, got .*; go on with"
        with monkeypatch.context() as patch, pytest.raises(ResumeError, match=said):
            patch.setattr("tasks.training.state.versions", lambda name=package: {**versions(), name: "0.1"})
            train(tmp_path)
    with pytest.raises(ResumeError, match=r"version of the code keeps: .*embedding.*; go on"):
        train(tmp_path, task=Wider())
    assert (tmp_path / "checkpoint.ckpt").read_bytes() == before


def test_best_weights_come_from_the_checkpoint(tmp_path: Path) -> None:
    interrupt(tmp_path, 3)
    path = tmp_path / "checkpoint.ckpt"
    with pytest.raises(CheckpointError, match="with a finished epoch"):
        best_weights(path, "words")
    _, task = train(tmp_path)
    weights = best_weights(path, "words")
    assert all(torch.equal(weights[name], tensor) for name, tensor in task.model.state_dict().items())
    with pytest.raises(ResumeError, match="vocabulary, letters, got words"):
        best_weights(path, "letters")
