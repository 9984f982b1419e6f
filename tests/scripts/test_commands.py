"""train, evaluate, predict and resume, as a person calls them."""

import gc
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import cli
from scripts.evaluate import evaluate
from scripts.predict import predict
from scripts.runs import training
from scripts.train import main as train
from tasks.data.normalize import tokenize
from tasks.entailment.mini import generate
from tasks.entailment.task import EntailmentTask, words_of
from tasks.training import fit, state
from tasks.training.records import read_records
from tasks.training.signals import STOPPING
from tests.scripts.bad_inputs import training as tiny_training

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "attention=fusedmax",
    "data.train=96",
    "data.dev=30",
    "data.test=30",
    "trainer.epochs=2",
    "trainer.threads=1",
]
TINY += ["task.hidden_size=16", "progress=false"]


def only(paths: list[Path]) -> Path:
    assert len(paths) == 1, paths
    return paths[0]


def record_in(folder: Path) -> dict:
    return json.loads(only(list((folder / "results/runs").glob("*.json"))).read_text())


def refusal(work: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(work)
    assert stop.value.code == cli.WRONG_INPUT
    sentence = capsys.readouterr().err.strip().split("\n")[-1]
    assert sentence.startswith("error: ")
    return sentence


def test_a_run_leaves_its_record_and_its_picture(folder: Path) -> None:
    train(TINY)
    record = record_in(folder)
    assert (record["task"], record["mapping"], record["tier"]) == ("snli", "fusedmax", "mini")
    assert record["mapping_params"] == {"gamma": 1.0, "lam": 0.1}
    assert record["corpus"]["sizes"] == {"train": 96, "dev": 30, "test": 30}
    assert set(record["seconds"]) == {"total", "per_epoch", "mapping_share"}
    assert 0 < record["seconds"]["mapping_share"] < 1
    assert record["command"].startswith("make train ATTN=fusedmax ARGS='data.train=96")
    assert (folder / "runs" / record["id"] / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_holds_what_the_log_says_of_every_epoch(folder: Path) -> None:
    train(TINY)
    record = record_in(folder)
    lines = (folder / "runs" / record["id"] / "metrics.jsonl").read_text().splitlines()
    logged = [line for line in map(json.loads, lines) if line["event"] == "epoch"]
    assert len(record["history"]) == 2 and "attention" in record["history"][0]  # its first step is looked at
    for entry, line in zip(record["history"], logged, strict=True):
        assert set(entry) - {"attention"} == {"epoch", "step", "loss", "seconds", "dev"}
        assert entry == {name: line[name] for name in entry}
    assert record["history"][record["best_epoch"] - 1]["dev"] == record["metrics"]["dev"]


def test_a_finished_run_is_not_repeated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(TINY)
    path = only(list((folder / "results/runs").glob("*.json")))
    before = path.stat().st_mtime_ns
    shutil.rmtree(folder / "runs")
    train([*TINY, "logger=tensorboard"])
    said = capsys.readouterr().out
    assert "is finished already" in said and "its curves are not written: a logger watches a training" in said
    assert path.stat().st_mtime_ns == before and not (folder / "runs").exists()


def test_a_training_is_not_lost_where_its_record_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "commit", lambda: "earlier")
    obstacle = folder / "results/runs"
    obstacle.parent.mkdir()
    obstacle.write_text("a file where records want their folder")
    said = refusal(lambda: train(TINY), capsys)
    run = only(list((folder / "runs").iterdir()))
    assert "results/runs cannot be used: File exists; the training is finished and kept in runs/" in said
    assert obstacle.is_file()
    obstacle.unlink()

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(fit, "train_step", refuse)
    files = [path for path in run.iterdir() if path.name != "run.lock"]
    kept = [path.stat().st_mtime_ns for path in files]
    with monkeypatch.context() as patch:
        patch.setattr(state, "versions", lambda: {"torch": "0.1"})
        assert "must have this run's torch, 0.1, got" in refusal(lambda: train(TINY), capsys)
    assert [path.stat().st_mtime_ns for path in files] == kept
    monkeypatch.setattr(training, "commit", lambda: "later")
    train(TINY)
    said = capsys.readouterr().out
    assert "resumed at step 6\nmade so far with commit earlier, from here on with later\n" in said
    assert record_in(folder)["commit"] == "earlier, later"


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_ends_any_command_with_one_sentence(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda: os.kill(os.getpid(), number))
    assert stop.value.code == 75
    assert capsys.readouterr().err == f"stopped: {number.name}; the same command continues it\n"


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no file that is full")
PRINTING = """
import sys
from scripts import cli

def work():
    for _ in range({times}):
        print("x" * {length})
    {then}

cli.main(work)
"""


@needs_full
@pytest.mark.parametrize(("times", "length"), [(1, 1), (1, 20_000), (1_000, 100)])
@pytest.mark.parametrize("then", ["pass", "sys.exit(0)"])
def test_output_that_nothing_takes_is_named_or_nobodys(times: int, length: int, then: str) -> None:
    command = [sys.executable, "-c", PRINTING.format(times=times, length=length, then=then)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    wanted = "error: standard output cannot be used: No space left on device\n"
    assert (done.returncode, done.stderr) == (cli.WRONG_INPUT, wanted)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@needs_full
def test_full_output_hides_no_error_and_no_exit_status() -> None:
    command = [sys.executable, "-c", PRINTING.format(times=1, length=5, then="raise ValueError('bad')")]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (cli.WRONG_INPUT, "error: bad\n")
        for unbuffered in ("", "1"):  # python tries again at its end what is left in a buffer
            env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
            done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=full, text=True, env=env)
            assert done.returncode == cli.WRONG_INPUT


@needs_full
def test_a_training_does_not_begin_where_its_output_is_full(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "scripts.train",
        *TINY,
        f"output_dir={tmp_path}",
        f"results_dir={tmp_path}",
    ]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == cli.WRONG_INPUT and "error: standard output cannot be used" in done.stderr
    assert not [*tmp_path.rglob("*.ckpt")]


def test_an_error_in_the_wake_of_a_signal_is_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise AttributeError("of a library that was broken off")

    with pytest.raises(SystemExit) as stop:
        cli.main(work)
    assert stop.value.code == 75
    assert capsys.readouterr().err == "stopped: SIGTERM; the same command continues it\n"


def test_several_processes_end_with_the_word_of_one(folder: Path) -> None:
    command = [sys.executable, "-m", "scripts.several", "2", *TINY, "trainer.epochs=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == cli.WRONG_INPUT
    assert "error: epochs must be an integer of at least 1, got 0\n" in done.stderr
    assert "Traceback" not in done.stderr and not list(folder.iterdir())


def test_every_command_collects_garbage_after_its_imports() -> None:
    for path in ROOT.glob("scripts/**/*.py"):
        before, _, begin = path.read_text().partition('if __name__ == "__main__":')
        assert not begin or "cli.main(" in before + begin or "end_imports()" in begin, path


def test_garbage_is_collected_from_then_on() -> None:
    gc.disable()
    try:
        cli.main(lambda: None)
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_signal_during_the_imports_ends_a_command_likewise(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    slow = tmp_path_factory.mktemp("slow")
    (slow / "torch.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(3600)\n")
    environment = {**os.environ, "PYTHONPATH": f"{slow}:{ROOT}"}
    command = [sys.executable, "-m", "scripts.train", *TINY]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGUSR2)
        said = process.communicate()[1]
    assert (process.returncode, said) == (75, "stopped: SIGUSR2; the same command continues it\n")
    assert not list(folder.iterdir())


def test_a_test_metric_that_is_no_number_leaves_no_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = EntailmentTask.evaluate

    def evaluate_badly(task: EntailmentTask, split: str, **options: Any) -> dict[str, float]:
        found = own(task, split, **options)
        return {**found, "entropy": float("nan")} if split == "test" else found

    monkeypatch.setattr(EntailmentTask, "evaluate", evaluate_badly)
    said = refusal(lambda: train(TINY), capsys)
    assert "entropy must be finite, got nan on test after the training" in said
    assert not (folder / "results").exists()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(folder: Path) -> None:
    metrics = []
    for n, seed in enumerate((1, 1, 2)):
        train([*TINY, f"seed={seed}", f"results_dir=results{n}", f"output_dir=runs{n}"])
        record = json.loads(only(list((folder / f"results{n}/runs").glob("*.json"))).read_text())
        metrics.append(record["metrics"]["dev"]["loss"])
    assert metrics[0] == metrics[1] != metrics[2]


def test_evaluate_repeats_the_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(TINY)
    record = record_in(folder)
    capsys.readouterr()
    evaluate(record["id"])
    again = json.loads(capsys.readouterr().out)
    assert again["metrics"] == record["metrics"]
    assert again["corpus"]["sha256"] == record["corpus"]["sha256"]


def test_evaluate_completes_a_record_from_before_details(folder: Path) -> None:
    train(TINY)
    path = only(list((folder / "results/runs").glob("*.json")))
    whole, record = path.read_text(), json.loads(path.read_text())
    details = only(list((folder / "results/details").glob("*.json")))
    items = details.read_bytes()
    details.unlink()
    del record["details"]
    for metrics in record["metrics"].values():
        del metrics["entropy"]
    path.write_text(json.dumps(record))
    evaluate(record["id"])
    assert json.loads(path.read_text()) == json.loads(whole)
    assert details.read_bytes() == items
    details.write_bytes(items[:-9])
    evaluate(record["id"])
    assert details.read_bytes() == items and json.loads(path.read_text()) == json.loads(whole)


def test_evaluate_refuses_a_record_that_says_something_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(TINY)
    path = only(list((folder / "results/runs").glob("*.json")))
    record = json.loads(path.read_text())
    record["metrics"]["test"]["accuracy"] += 0.25
    path.write_text(json.dumps(record))
    assert "of its record on test, got" in refusal(lambda: evaluate(record["id"]), capsys)


def test_predict_prints_label_probabilities_and_attention(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(TINY)
    capsys.readouterr()
    predict([record_in(folder)["id"], "The old nurse sits while the dog jogs", "the nurse is resting"])
    label, probabilities, *rows = capsys.readouterr().out.strip().split("\n")
    assert label in ("entailment", "neutral", "contradiction")
    assert sum(float(word) for word in probabilities.split()[1::2]) == pytest.approx(1, abs=2e-4)
    assert [row.split()[0] for row in rows[:-1]] == [
        "the",
        "old",
        "nurse",
        "sits",
        "while",
        "the",
        "dog",
        "jogs",
    ]
    assert sum(float(row.split()[1]) for row in rows[:-1]) == pytest.approx(1, abs=1e-3)
    picture = Path(rows[-1].removeprefix("picture "))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_cut_short_is_continued_to_the_same_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train([*TINY, "results_dir=whole", "output_dir=whole_runs"])
    wanted = json.loads(only(list((folder / "whole/runs").glob("*.json"))).read_text())

    class Stop(Exception):
        pass

    def cut(task: object, *args: object, **kwargs: object) -> dict[str, float]:
        raise Stop

    monkeypatch.setattr(fit, "evaluate", cut)
    with pytest.raises(Stop):
        train([*TINY, "trainer.checkpoint_every=2"])
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    run = only(list((folder / "runs").iterdir())).name
    train(["resume", run])
    record = record_in(folder)
    assert record["metrics"] == wanted["metrics"]


def test_tensorboard_and_offline_wandb_get_the_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    train([*TINY, "logger=tensorboard"])
    run = only(list((folder / "runs").iterdir()))
    assert list((run / "tensorboard").glob("events.*"))
    from scripts.loggers import WandbLogger
    from tasks.training.callbacks import StepEvent

    logger = WandbLogger("run", folder, {}, project="regattn", mode="offline")
    logger.on_step(StepEvent(1, 2, 1, 0.5, {"tokens": 10.0}, 0.1))
    logger.on_end()
    assert list((folder / "wandb").glob("offline-run-*"))


def test_wandb_without_a_key_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NETRC", str(folder / "none"))
    with pytest.raises(SystemExit):
        train([*TINY, "logger=wandb"])
    assert "logger.mode=offline needs none" in capsys.readouterr().err
    assert not (folder / "results").exists()


def test_predict_says_in_its_answer_which_words_it_does_not_know(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(TINY)
    capsys.readouterr()
    predict([record_in(folder)["id"], "The nurse sits", "the zebra is zany"])
    said = capsys.readouterr()
    assert "read as unknown, for the run has never seen them: zebra, zany\n" in said.out and not said.err


def test_the_docs_ask_what_its_own_corpus_can_answer() -> None:
    (line,) = re.findall("^make predict .*$", (ROOT / "docs/training.md").read_text(), re.MULTILINE)
    asked = dict(word.split("=", 1) for word in shlex.split(line.replace("<run>", "run"))[2:])
    known = words_of(generate()).vocabulary
    words = [word for name in ("PREMISE", "HYPOTHESIS") for word in tokenize(asked[name], lowercase=True)]
    assert len(words) > 9 and not [word for word in words if word not in known]


def test_a_terminal_that_lacks_letters_gets_the_rest() -> None:
    work = "from scripts import cli; cli.main(lambda: print('é█ 0.5'))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", work], capture_output=True, env=environment)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"?? 0.5\n", b"")


@pytest.mark.parametrize("arguments", [["nothing"], ["", "", ""], ["nothing", "a dog", "a cat"]])
def test_predict_says_what_it_wants(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "must" in refusal(lambda: predict(arguments), capsys)


def test_evaluate_names_the_runs_that_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("snli-a", "snli-b"):
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "config.json").write_text("{}")
    assert "snli-a, snli-b" in refusal(lambda: evaluate("snli"), capsys)


@pytest.mark.measures("bad environment")
def test_the_hub_without_a_network_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.train", "data=snli/snli", f"output_dir={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(folder)},
    )
    assert done.returncode == cli.WRONG_INPUT
    assert "pass a folder" in done.stderr.strip().split("\n")[-1]


def test_a_processor_without_bfloat16_trains_in_float32(folder: Path) -> None:
    """As oneDNN sees one that has AVX2 and nothing later; the record says so."""
    overrides = [*tiny_training("translation"), "trainer.precision=bfloat16"]
    old = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.train", *overrides], capture_output=True, text=True,
        env={**os.environ, **old, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = read_records(folder / "results" / "runs")
    assert (record.precision == "float32") == ("instead of bfloat16" in done.stdout)
    assert record.precision == "float32" or platform.machine() not in ("x86_64", "AMD64")
    assert record.config["trainer"]["precision"] == "bfloat16"
    assert f"device cpu, 1 thread, {record.precision}" in done.stdout


@pytest.mark.measures("bad environment")
def test_a_fake_device_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SystemExit):
        train([*TINY, "trainer.device=cuda"])
    assert "got cuda" in capsys.readouterr().err


def test_two_processes_leave_one_record(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.several", "2", *TINY, "task.dropout=0", "trainer.epochs=1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = record_in(folder)
    assert record["command"].startswith("make train ATTN=fusedmax NPROC=2 ARGS=")
    assert done.stdout.count("accuracy dev") == 1
    train([*TINY, "task.dropout=0", "trainer.epochs=1", "results_dir=alone", "output_dir=alone_runs"])
    alone = json.loads(only(list((folder / "alone/runs").glob("*.json"))).read_text())
    assert alone["id"] == record["id"]
    assert record["metrics"]["dev"]["loss"] == pytest.approx(alone["metrics"]["dev"]["loss"], abs=1e-4)
