"""A sweep trains what is missing of a grid, whatever becomes of single jobs, and ranks it by dev."""

import gc
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import regattn
from scripts import cli
from scripts.cli import UsageError
from scripts.runs import runner
from scripts.runs.config import CONFIGS, read_config
from scripts.runs.runner import LAUNCHERS, Job, launch, run_until_done
from scripts.sweep import RESULTS, Setting, check_settings, main, rank, ranking, read_grid
from scripts.train import main as train
from tasks.training.provenance import available_cores
from tasks.training.records import read_records
from tests.example_record import RECORD
from tests.tasks.training.forked import Child, needs_fork

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "attention=fusedmax", "data.train=96", "data.dev=30", "data.test=30", "trainer.epochs=1",
    "trainer.threads=1", "task.hidden_size=16", "progress=false",
]  # fmt: skip
MAPPINGS = {"lambda": "fusedmax", "lambda_gamma": "oscarmax", "p": "pnormmax"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def status_of(arguments: list[str]) -> int | str | None:
    try:
        cli.main(lambda: main(arguments))
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml")))
def test_every_grid_composes(name: str) -> None:
    grid = read_grid(name, [f"attention={MAPPINGS.get(name, 'softmax')}"] if name != "mappings" else [])
    for choice in (grid.choices[0], grid.choices[-1]):
        config = read_config([*grid.fixed, *choice])
        assert all(str(read_value(config, text)) for text in choice)
    assert read_config([f"sweep={name}"]) == read_config([])


def read_value(config: object, override: str) -> object:
    key, _, value = override.partition("=")
    found = config
    for part in key.split("."):
        found = found[part]  # type: ignore[index]
    assert key == "attention" or float(found) == float(value)  # type: ignore[arg-type]
    return found


def test_the_grid_of_mappings_is_the_papers_five() -> None:
    paper = [f"attention={name}" for name, spec in regattn.MAPPINGS.items() if spec.in_paper]
    assert read_grid("mappings", []).axes == {"attention": paper}


def test_the_grid_of_lambda_and_gamma_has_twelve_settings() -> None:
    assert len(set(read_grid("lambda_gamma", []).choices)) == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sweep", "lamda"], "SWEEP must be one of gamma, l2,"),
        (["--sweep", "lambda", "attention=softmax"], "attention.lam is no key"),
        (["attention=fusedmax", "attention.lam=0.1,-1"], "lam must be finite and at least 0, got -1"),
        (["attention.gamma=1,x"], "attention.gamma"),
        (["seed=1,2", "nonsense"], "an override must be key=value, got 'nonsense'"),
        (["--jobs", "0"], "JOBS must be an integer of at least 1, got 0"),
        (["--launcher", "ray"], "invalid choice: 'ray'"),
        (["seed=1,2", "hydra.launcher.n_job=2"], "the launcher cannot be used"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of([*arguments, "data.train=96", "data.dev=30", "data.test=30"]) == 2
    assert said in capsys.readouterr().err
    assert not list(folder.rglob("*.ckpt"))


def test_no_more_jobs_share_the_cores_than_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.raises(UsageError, match="the launcher cannot be used"):  # else the job would begin
        launch([Job("a", ("seed=1",))], "joblib", 10**9, folder, ["hydra.launcher.n_job=2"])
    assert os.environ["OMP_NUM_THREADS"] == str(available_cores())


@pytest.mark.parametrize("launcher", [name for name in LAUNCHERS if name != "submitit_slurm"])
def test_a_failing_job_leaves_the_others_running(
    folder: Path, launcher: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    arguments = ["--launcher", launcher, "--jobs", "2", *TINY, "attention.lam=0.1,0.2"]
    jobs = check_settings(read_grid("", [*TINY, "attention.lam=0.1,0.2", f"results_dir={RESULTS}"]))
    obstacle = jobs[0].setup.directory.path
    obstacle.parent.mkdir()
    obstacle.write_text("a file where the run has its directory")
    assert status_of(arguments) == 1
    assert [job.is_finished for job in jobs] == [False, True]
    out, err = capfd.readouterr()
    assert f"{jobs[0].setup.id} is not finished: exit status 2: error: " in err
    assert "make train ATTN=fusedmax ARGS='data.train=96" in err and "attention.lam=0.1'" in err
    assert "best on dev: make train" in out and out.strip().endswith("attention.lam=0.2'")
    if launcher != "basic":
        return
    finished = jobs[1].setup.record_file.stat().st_mtime_ns
    obstacle.unlink()
    assert status_of(arguments) == 0
    assert all(job.is_finished for job in jobs)
    assert jobs[1].setup.record_file.stat().st_mtime_ns == finished
    assert status_of(arguments) == 0
    assert "2 runs, 2 of them finished before\n\n|" in capfd.readouterr().out


def test_a_preempted_job_is_begun_again(folder: Path) -> None:
    overrides = [*TINY, "trainer.epochs=60"]
    preempted: list[int] = []

    def preempt() -> None:
        while not (logs := list(folder.glob("runs/*/metrics.jsonl"))) or not logs[0].stat().st_size:
            time.sleep(0.02)
        preempted.append(int((logs[0].parent / "run.lock").read_text().split()[1]))
        os.kill(preempted[0], signal.SIGUSR1)

    killer = threading.Thread(target=preempt)
    killer.start()
    assert run_until_done(Job("a", tuple(overrides)), folder / "log", lambda: False) == ""
    killer.join()
    assert "stopped: SIGUSR1 stopped the run at step" in (folder / "log").read_text()
    assert len(read_records(folder / "results/runs")) == 1


def test_a_stopped_job_is_begun_again_and_a_failed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [(75, "stopped\n"), (-signal.SIGUSR1, ""), (2, "error: no\n"), (0, "")]
    log = tmp_path / "log"

    def run_once(job: Job, log: Path, should_stop: object, cwd: object) -> int:
        status, said = ends.pop(0)
        with log.open("a") as file:
            file.write(said)
        return status

    monkeypatch.setattr(runner, "_run_once", run_once)
    assert run_until_done(Job("a", ()), log, lambda: False) == "exit status 2: error: no"
    assert run_until_done(Job("a", ()), log, lambda: False) == ""


@needs_fork
def test_a_stopped_sweep_stops_its_trainings_and_tells(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TINY, "trainer.epochs=300", "trainer.patience=300", "seed=1,2"]
    sweeping = Child(lambda: cli.main(lambda: main(arguments)))
    while not (logs := list(folder.glob("runs/*/metrics.jsonl"))) or not logs[0].stat().st_size:
        assert not sweeping.has_ended()
        time.sleep(0.02)
    training = (logs[0].parent / "run.lock").read_text().split()[1]
    sweeping.send(signal.SIGUSR1)
    assert sweeping.wait() == 75
    assert not Path("/proc", training).exists() and (logs[0].parent / "checkpoint.ckpt").exists()
    err = capfd.readouterr().err
    assert "stopped: SIGUSR1; the same command continues it" in err
    assert err.count("is not finished: it was not begun, or ended without a word") == 2


@pytest.mark.parametrize("wrong", ["", "+trainer.epoch=1"])
def test_hydra_s_own_multirun_trains_too(
    folder: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--multirun", "hydra.job.chdir=true", "hydra.sweep.dir=jobs", *TINY, "seed=1,2"]
    arguments += [wrong] if wrong else []
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    if wrong:
        with pytest.raises(SystemExit):
            train(arguments)
        assert "trainer.epoch is no key: trainer has" in capsys.readouterr().err
    else:
        gc.disable()  # as it is while a command has its imports
        train(arguments)
        assert gc.isenabled()
        gc.unfreeze()
    assert len(read_records(folder / "results/runs")) == (0 if wrong else 2)


def test_the_ranking_is_by_dev_and_over_seeds() -> None:
    figures = {"1 1": None, "2 1": (0.5, 0.9), "2 2": (0.7, 0.9), "3 1": (0.8, 0.1), "3 2": (0.6, 0.1)}
    settings, records = [], []
    for name, values in figures.items():
        lam, seed = name.split()
        setup = SimpleNamespace(id=name, task=SimpleNamespace(metric="accuracy"))
        choice = (f"attention.lam={lam}", f"seed={seed}")
        settings.append(Setting(choice, Job(name, choice), setup))  # type: ignore[arg-type]
        if values:
            metrics = {
                split: {"accuracy": value} for split, value in zip(("dev", "test"), values, strict=True)
            }
            records.append(replace(RECORD, id=name, metrics=metrics))
    ranked = rank(settings, records)
    assert [choice[0][-1] for choice in ranked] == ["3", "2", "1"]
    rows = ranking(ranked, "accuracy").split("\n")
    assert rows[2].startswith("| 3 | 0.7000±0.1414 | 2/2 | 2.0 |")
    assert rows[4] == "| 1 | – | 0/1 | – | – |"


def test_a_misspelt_grid_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="got 'nothing'"):
        read_grid("nothing", [])


def test_a_key_that_varies_over_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must have a value at least, got 'seed=range\(1,1\)'"):
        read_grid("", ["seed=range(1,1)"])
