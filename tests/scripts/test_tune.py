"""A study tries as many settings as asked, once each, whoever is killed on the way."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

import regattn
from scripts.cli import UsageError
from scripts.runs.config import CONFIGS, read_config
from scripts.tune import (
    SharedStudy,
    journal_storage,
    main,
    make_distribution,
    overrides_of,
    read_space,
    tune,
)
from tasks.entailment.task import EntailmentTask
from tasks.training.records import read_records
from tests.tasks.training.forked import Child, needs_fork

TINY = [
    "attention=fusedmax", "data.train=96", "data.dev=30", "data.test=30", "trainer.epochs=2",
    "trainer.threads=1", "task.hidden_size=8", "progress=false",
]  # fmt: skip
SPACE = {
    "attention.lam": FloatDistribution(0.01, 1, log=True),
    "optim.lr": CategoricalDistribution([0.001, 0.01]),
}
SPACES = sorted(path.stem for path in (CONFIGS / "tune").glob("*.yaml"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return tmp_path


def test_every_mapping_has_a_space() -> None:
    assert set(SPACES) == set(regattn.MAPPINGS)


@pytest.mark.parametrize("name", SPACES)
def test_every_corner_of_a_space_is_a_config(name: str) -> None:
    space, _ = read_space(name)
    for end in (0, -1):
        corner = {
            key: of.choices[end] if isinstance(of, CategoricalDistribution) else (of.low, of.high)[end]
            for key, of in space.items()
        }
        read_config([f"attention={name}", *overrides_of(corner)])


def test_numbers_of_an_override_are_short() -> None:
    assert overrides_of({"a.b": 0.123456, "c": 1e-5, "d": 0}) == ["a.b=0.1235", "c=1e-05", "d=0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1.0},
        {"low": 1, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 2, "choices": (1,)},
    ],
)
def test_a_dimension_is_a_range_or_choices(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"a\.b must have low < high"):
        make_distribution("a.b", **{"low": None, "high": None, "log": False, "choices": (), **wrong})


def test_what_a_full_disk_left_of_a_line_is_cut_off(folder: Path) -> None:
    whole = go(folder / "a.journal", 3)
    path = folder / "a.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code":4,"worker_id":"cut off in the mi')
    assert go(path, 3) == whole
    assert len(go(path, 4)) == 4


def lock_and_die(path: Path) -> None:
    journal_storage(path, path.with_suffix(".lock"))._backend._lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


@needs_fork
def test_the_lock_of_a_journal_ends_with_its_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.journal"
    assert Child(partial(lock_and_die, path)).wait() == -signal.SIGKILL
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits for a process that is gone"))
    journal_storage(path, path.with_suffix(".lock"))._backend.append_logs([{"op_code": 0}])


def value(overrides: list[str]) -> float:
    lam, rate = (float(text.partition("=")[2]) for text in overrides)
    return -abs(lam - 0.1) - rate


def go(path: Path, trials: int, abandon: tuple[int, ...] = ()) -> list[dict]:
    """Search, each time as a new process would; the trials in ``abandon`` are asked for and never told."""
    told = 0
    for left in (*abandon, None):
        shared = SharedStudy(path, 1, "the same")
        while trial := shared.ask(trials, SPACE):
            if told == left:
                break
            shared.study.tell(trial, value(overrides_of(trial.params)))
            told += 1
    return [
        {**trial.params, "value": trial.value} for trial in sorted(shared.trials(), key=lambda t: t.number)
    ]


def test_an_interrupted_study_is_the_one_that_was_not(folder: Path) -> None:
    whole = go(folder / "whole.journal", 14)
    assert len({trial["attention.lam"] for trial in whole}) == 14
    parts = go(folder / "parts.journal", 14, abandon=(3, 3, 12))
    assert parts == whole


def test_a_trial_of_a_living_process_is_left_to_it(folder: Path) -> None:
    first, second = (SharedStudy(folder / "a.journal", 1, None) for _ in range(2))
    mine, theirs = first.ask(3, SPACE), second.ask(3, SPACE)
    assert mine is not None and theirs is not None
    assert (mine.number, theirs.number) == (0, 1) and mine.params != theirs.params
    second.study.tell(theirs, 0.0)
    assert [trial.state for trial in first.trials()] == [TrialState.RUNNING, TrialState.COMPLETE]


def test_a_study_goes_on_only_with_what_it_was_begun_with(folder: Path) -> None:
    SharedStudy(folder / "a.journal", 1, {"epochs": 2})
    with pytest.raises(UsageError, match=r"begun with, \{'epochs': 2\}, got \{'epochs': 3\}"):
        SharedStudy(folder / "a.journal", 1, {"epochs": 3})


def storage(path: Path) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def best_of(out: str) -> list[str]:
    lines = out.strip().split("\n")
    return [lines[-3].partition(", ")[2], lines[-1]]


def begun_trials() -> int:
    return len(list(Path("runs").glob("*/metrics.jsonl")))


def stand_still_in_the_second_trial(command: list[str]) -> None:
    """A search whose second trial does not come to the end of its first epoch."""
    own = EntailmentTask.evaluate

    def evaluate(task: EntailmentTask, split: str, **options: Any) -> dict[str, float]:
        if begun_trials() == 2:
            time.sleep(3600)
        return own(task, split, **options)

    EntailmentTask.evaluate = evaluate  # type: ignore[method-assign]
    main(command)


@needs_fork
def test_a_killed_study_comes_to_the_same_best(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = [*TINY, "trainer.epochs=6"]
    command = ["--study", "a", "--space", "fusedmax", "--trials", "4", *overrides]
    child = Child(partial(stand_still_in_the_second_trial, command))
    while begun_trials() < 2:
        assert not child.has_ended()
        time.sleep(0.02)
    child.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    capfd.readouterr()
    main(command)
    resumed = best_of(capfd.readouterr().out)
    study = optuna.load_study(study_name="a", storage=storage(folder / "runs/studies/a.journal"))
    assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 1
    assert len(read_records(folder / "results/studies/runs")) == len(study.trials) - 1 == 4
    tune("b", "fusedmax", 4, [*overrides, "output_dir=whole", "results_dir=whole"])
    whole = best_of(capfd.readouterr().out)
    assert resumed[0] == whole[0]
    assert resumed[1] == whole[1].replace("output_dir=whole results_dir=whole ", "")
