"""Plain lines in a file, a bar on a terminal."""

import io
import math
from pathlib import Path

import numba
import pytest
from rich.console import Console
from rich.live import Live
from rich.progress import Task
from tiny_run import train

from tasks.training.callbacks import EpochEvent, Progress, StartEvent, StepEvent

METRIC_SUMS = {"examples": 8.0, "correct": 6.0, "tokens": 100.0}


def play(progress: Progress) -> None:
    progress.on_start(StartEvent(10, 14, 2, ("resumed at step 10",)))
    progress.on_step(StepEvent(11, 14, 2, 0.5, METRIC_SUMS, 25.0, is_warmup=True))
    progress.on_step(StepEvent(12, 14, 2, 0.5, METRIC_SUMS, 0.1))
    metric_sums = {"examples": 16.0, "tokens": 200.0}
    progress.on_epoch(EpochEvent(12, 2, 2, 0.25, metric_sums, 0.2, {"accuracy": 0.5}, is_best=True))
    progress.on_end()


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("tasks.training.callbacks.time.monotonic", lambda: 0.0)
    play(Progress(stream, every=0.0))
    assert stream.getvalue().splitlines() == [
        "resumed at step 10",
        "step 11/14 · epoch 2/2 · loss 0.5000 · accuracy 75.0 % · speed and time left not known yet",
        "step 12/14 · epoch 2/2 · loss 0.5000 · accuracy 75.0 % · 1,000 tokens/s · 0:00 left",
        "epoch 2/2 · loss 0.2500 · dev accuracy 0.5 · best so far · 0.2 s",
    ]


def test_only_the_metrics_asked_for_are_shown_in_that_order() -> None:
    stream = io.StringIO()
    progress = Progress(stream, shown=("bleu", "aer", "perplexity"))
    progress.on_start(StartEvent(0, 4, 2, ()))
    dev = {"log_likelihood": -1.0, "perplexity": 2.71828, "bleu": 30.5}
    progress.on_epoch(EpochEvent(2, 1, 2, 0.25, {"examples": 8.0}, 0.2, dev, is_best=False))
    assert stream.getvalue() == "epoch 1/2 · loss 0.2500 · dev bleu 30.5, perplexity 2.718 · 0.2 s\n"


def test_plain_lines_are_rare() -> None:
    stream = io.StringIO()
    play(Progress(stream, every=math.inf))
    assert len(stream.getvalue().splitlines()) == 2


def test_every_epoch_has_its_own_mean() -> None:
    stream = io.StringIO()
    progress = Progress(stream, every=0.0)
    play(progress)
    progress.on_step(StepEvent(13, 14, 3, 0.75, METRIC_SUMS, 0.1))
    assert "epoch 3/2 · loss 0.7500 · " in stream.getvalue().splitlines()[-1]


def test_speed_and_time_left_are_without_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tasks.training.callbacks.time.monotonic", lambda: now)
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_start(StartEvent(10, 16, 2, ()))
    for step, took, epoch in ((11, 25.0, 1), (12, 10.0, 2), (13, 20.0, 2)):
        now += took
        progress.on_step(StepEvent(step, 16, epoch, 0.5, METRIC_SUMS, took, is_warmup=step == 11))
    assert [line.split("% · ")[1] for line in stream.getvalue().splitlines()] == [
        "speed and time left not known yet",
        "10 tokens/s · 0:40 left",
        "7 tokens/s · 0:45 left",
    ]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = io.StringIO()
    progress = Progress(stream)
    progress.console = Console(file=stream, force_terminal=True, width=120)
    play(progress)
    assert "12/14" in stream.getvalue() and "━" in stream.getvalue()
    assert "epoch 2/2 · loss 0.2500" in stream.getvalue()


def test_a_notebook_ends_with_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    progress = Progress(io.StringIO())
    progress.console = Console(file=io.StringIO(), force_jupyter=True)
    monkeypatch.setattr(Live, "refresh", lambda live: shown.append([task.total for task in tasks()]))

    def tasks() -> list[Task]:
        return list(progress._bar.tasks) if progress._bar else []

    progress.on_start(StartEvent(10, 14, 2, ()))
    progress.on_evaluation("dev", "evaluating", 4, 8)
    assert progress._bar is not None
    progress._bar.refresh()
    progress.on_evaluation("dev", "evaluating", 8, 8)
    progress.on_end()
    assert [14, 8] in shown and shown[-1] == [14]
    assert all(total in ([], [14], [14, 8]) for total in shown)  # none begins with a total of its own


def test_a_notebook_without_ipywidgets_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    monkeypatch.setattr("tasks.training.callbacks.find_spec", lambda name: None)
    stream = io.StringIO()
    play(Progress(stream, every=-1.0))
    assert "step 11/14" in stream.getvalue() and stream.getvalue().count("\n") == 4


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_bar_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    progress = Progress(io.StringIO())
    progress.console = Console(file=progress.console.file, force_terminal=True, width=width)
    progress.on_start(StartEvent(59000, 72000, 12, ()))
    progress.on_step(StepEvent(59001, 72000, 10, 10.5, METRIC_SUMS, 25.0, is_warmup=True))
    progress.on_step(StepEvent(59002, 72000, 10, 10.5, METRIC_SUMS, 0.1))
    progress.on_evaluation("test_2017_flickr", "writing", 640, 1000)
    assert progress._bar is not None
    plain = Console(width=width, file=io.StringIO(), color_system=None)
    plain.print(progress._bar.get_renderable())
    progress.on_end()
    training, evaluation = [line.rstrip() for line in plain.file.getvalue().splitlines()]
    assert max(len(training), len(evaluation)) <= width
    assert "━" in training and "59002/72000 epoch 10/12 · loss 10.5" in training
    assert training.endswith(" left")
    assert "640/1000" in evaluation and evaluation.endswith(" writing test_2017_flickr")


def test_an_evaluation_is_told_in_plain_lines_too() -> None:
    stream = io.StringIO()
    Progress(stream, every=0.0).on_evaluation("dev", "writing", 64, 1014)
    assert stream.getvalue() == "writing dev 64/1014\n"


def test_kernels_are_said_to_be_compiled_only_then() -> None:
    stream = io.StringIO()
    progress = Progress(stream, every=0.0)
    progress.on_start(StartEvent(0, 4, 2, ()))
    compiled = numba.njit(lambda number: number + 1)
    for _ in range(2):
        compiled(1)
    progress.on_end()
    compiled(1.0)
    assert stream.getvalue() == "compiling kernels\n"


def test_it_watches_a_real_run(tmp_path: Path) -> None:
    stream = io.StringIO()
    train(tmp_path, callback=Progress(stream, every=math.inf))
    assert stream.getvalue().count("epoch ") == 3
