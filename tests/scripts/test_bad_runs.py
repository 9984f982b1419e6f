"""Every damaged, foreign or busy run and record, through the commands that a person calls."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import tables
from scripts.bench.render import render
from scripts.cli import UsageError
from scripts.evaluate import evaluate
from scripts.export import export
from scripts.generate import generate
from scripts.predict import predict
from scripts.report import kernel_costs
from scripts.runs.runner import Job, run_until_done
from scripts.train import main as train
from scripts.tune import journal_storage
from tasks.training.run_directory import RunDirectory
from tests.scripts import bad_inputs as bad
from tests.scripts.bad_inputs import Capture, Spoil, refused, training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of entailment and one of translation."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        for task in ("snli", "translation"):
            train(training(task))
    return folder


COMMANDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "evaluate": ("snli", evaluate),
    "predict": ("snli", lambda run: predict([run, "a man sleeps", "nobody is awake"])),
    "translate": ("translation", lambda run: generate(["translate", run])),
    "resume": ("snli", lambda run: train(["resume", run])),
}
EVERY = tuple(COMMANDS)
MADE = r"must have the config and corpus that it began with, got those of snli-"
RUN_FAULTS: dict[str, tuple[Spoil, tuple[str, ...], str]] = {
    "cut": (bad.checkpoints(bad.cut), EVERY, r"checkpoint\.ckpt is damaged or no checkpoint: its checksum"),
    "flipped": (bad.checkpoints(bad.flip), EVERY, r"checkpoint\.ckpt is damaged or no checkpoint"),
    "empty": (bad.checkpoints(bad.content(b"")), EVERY, r"checkpoint\.ckpt is damaged or no checkpoint"),
    "gone": (bad.checkpoints(bad.remove), EVERY[:3], r"checkpoint\.ckpt is missing"),
    "directory": (
        bad.checkpoints(bad.make_directory),
        EVERY,
        r"cannot read .*checkpoint\.ckpt: Is a directory",
    ),
    "a pipe": (
        bad.checkpoints(bad.make_pipe),
        EVERY,
        r"checkpoint\.ckpt must be a file, got a pipe or device",
    ),
    "a pipe for a log": (
        lambda run: bad.make_pipe(run / "metrics.jsonl"),
        EVERY[3:],
        r"metrics\.jsonl must be a file, got a pipe or device",
    ),
    "newer": (bad.checkpoints(bad.newer), EVERY, r"must have checkpoint format 1, got format 2"),
    "malicious": (bad.checkpoints(bad.pickled), EVERY, r"checkpoint\.ckpt is damaged or no checkpoint"),
    "foreign": (
        bad.checkpoints(bad.foreign),
        EVERY,
        r"must hold the state of a run|must have this run's config",
    ),
    "cut config": (
        bad.stored("config.json", '{"task": '),
        EVERY,
        r"config\.json must be JSON, got a damaged",
    ),
    "a pipe for a config": (
        lambda run: bad.make_pipe(run / "config.json"),
        EVERY[:1],
        r"config\.json must be a file, got a pipe or device",
    ),
    "no config": (
        bad.stored("config.json", "[]"),
        EVERY,
        r"config\.json must hold a dictionary, got another",
    ),
    "empty config": (
        bad.stored("config.json", "{}"),
        EVERY,
        r"attention must be a section|must get a run of",
    ),
    "malicious config": (
        bad.config("attention", value={"_target_": "os.mkdir", "path": "made"}),
        EVERY,
        r"config\.json is not the config of a run: attention\._target_ must be one of .*, got 'os\.mkdir'",
    ),
    "key in config": (
        bad.config("trainer", "epoch", value=1),
        EVERY,
        r"is not the config of a run: .*epoch",
    ),
    "an interpolation in config": (
        bad.config("command", value="${oc.env:HOME}"),
        EVERY,
        r"must hold plain values, got '\$\{oc\.env:HOME\}' as command|must get a run of",
    ),
    "an interpolation in a section": (
        bad.config("data", "seed", value="${seed}"),
        EVERY,
        r"must hold plain values, got '\$\{seed\}' as data\.seed",
    ),
    "another folder for its record": (
        bad.config("results_dir", value="elsewhere"),
        ("evaluate", "resume"),
        r"was to write to elsewhere as its results_dir: confirm it, ARGS='results_dir=elsewhere', or name",
    ),
    "a folder for a cache": (
        bad.config(
            "data", value={"_target_": "tasks.entailment.data.load_folder", "root": ".", "cache": "c"}
        ),
        ("evaluate", "resume"),
        r"was to write to c as its data\.cache: confirm it, ARGS='data\.cache=c'$",
    ),
    "a link for a log": (
        lambda run: bad.make_link(run / "metrics.jsonl"),
        EVERY[3:],
        r"metrics\.jsonl must be a file, got a link to another",
    ),
    "a link for a lock": (
        lambda run: bad.make_link(run / "run.lock"),
        EVERY[3:],
        r"run\.lock must be a file, got a link to another",
    ),
    "a pipe for a lock": (
        lambda run: bad.make_pipe(run / "run.lock"),
        EVERY[3:],
        r"run\.lock must be a file, got a pipe or device",
    ),
    "type in config": (
        bad.config("trainer", "epochs", value="many"),
        EVERY,
        r"is not the config of a run: epochs of trainer: value 'many'",
    ),
    "other corpus": (
        bad.config("data", "seed", value=9),
        EVERY[:1],
        r"must have this run's vocabulary, .*, got",
    ),
    "other corpus to resume": (bad.config("data", "seed", value=9), EVERY[3:], MADE),
    "other config": (bad.config("optim", "lr", value=1.0), EVERY[3:], MADE),
    "other shape": (
        bad.config("task", "hidden_size", value=9),
        EVERY[:2],
        r"must have the weights that this run's config asks for: size mismatch",
    ),
    "too large": (
        bad.config("task", "model", "layers", value=10**6),
        EVERY[2:3],
        r"a model must have at most 10,000 tensors of weights",
    ),
    "other vocabulary": (
        bad.other_vocabulary,
        EVERY[1:3],
        r"must have this run's vocabulary, .*, got|tokenizers must have source and target, got",
    ),
    "no vocabulary": (
        bad.stored("vocabulary.json", "5"),
        EVERY[1:3],
        r"vocabulary\.json must hold what is kept there, got something else",
    ),
}
CASES = [(fault, command) for fault, (_, commands, _) in RUN_FAULTS.items() for command in commands]


@pytest.mark.measures("bad checkpoint")
@pytest.mark.parametrize(("fault", "command"), CASES)
def test_a_run_that_is_damaged_is_refused(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, fault: str, command: str
) -> None:
    spoil, _, sentence = RUN_FAULTS[fault]
    task, ask = COMMANDS[command]
    run = a_copy(trained, folder, task)
    spoil(run)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ein hund\n")))
    assert re.search(sentence, refused(lambda: ask(run.name), capsys))


def a_copy(trained: Path, folder: Path, task: str) -> Path:
    """The run of a task in the current folder, without its record."""
    (run,) = (trained / "runs").glob(f"{task}-*")
    return Path(shutil.copytree(run, folder / "runs" / run.name)).relative_to(folder)


@pytest.mark.measures("bad checkpoint")
def test_no_file_of_a_run_is_written_through_a_link(trained: Path, folder: Path) -> None:
    run = a_copy(trained, folder, "snli")
    precious = folder / "precious"
    precious.mkdir()
    (run / "prediction.png").touch()
    for file in {*run.iterdir()} - {run / "metrics.jsonl", run / "run.lock"}:  # which are refused
        file.rename(precious / file.name)
        file.symlink_to(precious / file.name)
    before = bad.listing(precious)
    for command in ("resume", "evaluate", "predict"):
        COMMANDS[command][1](run.name)
    export(run.name)
    assert bad.listing(precious) == before and (run / "attention.png").is_file()


@pytest.mark.measures("bad checkpoint")
def test_a_run_in_use_is_refused(trained: Path, folder: Path, capsys: Capture) -> None:
    run = a_copy(trained, folder, "snli")
    with RunDirectory(run):
        said = refused(lambda: train(["resume", run.name]), capsys)
    assert re.search(r"is in use by process \d+ on .*; wait for it or end it", said)


def test_a_run_is_resumed_where_it_lies(trained: Path, folder: Path) -> None:
    run = a_copy(trained, folder, "snli")
    there = run.rename(folder / run.name)
    train(["resume", str(there)])
    assert not list((folder / "runs").iterdir())
    assert (folder / "results/runs" / f"{run.name}.json").exists()


@pytest.mark.measures("bad data")
@pytest.mark.parametrize(
    ("text", "wanted"), [("x" * 20_000, "10,000 characters, got 20,000"), ("\udcff", "UTF-8")]
)
def test_a_line_that_is_no_sentence_is_refused(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, text: str, wanted: str
) -> None:
    run = a_copy(trained, folder, "translation")
    stream = io.BytesIO(f"hund\n{text}\n".encode(errors="surrogateescape"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
    said = refused(lambda: generate(["translate", run.name, "--attention", "new/a.json"]), capsys)
    assert "line 2 of the input must" in said and wanted in said


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_stream_that_is_closed_is_said(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    run = a_copy(trained, folder, "translation")
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(UsageError, match="standard input and output must be open, got one that is closed"):
        generate(["translate", run.name])


@pytest.mark.measures("bad data")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [("x" * 20_000, "1,000 characters, got 20,000"), ("a\udcff", "UTF-8, got"), (" ", "one word")],
)
def test_what_is_no_sentence_is_not_predicted(
    trained: Path, folder: Path, capsys: Capture, text: str, wanted: str
) -> None:
    run = a_copy(trained, folder, "snli")
    said = refused(lambda: predict([run.name, "a man sleeps", text]), capsys)
    assert "hypothesis must" in said.lower() and wanted in said


# ------------------------------------------------------------------ records
RECORD_FAULTS: dict[str, tuple[Spoil, str]] = {
    "infinite by overflow": (
        bad.replace(b'"best_epoch": 1', b'"best_epoch": 1e999'),
        r"numbers must be finite, got 1e999",
    ),
    "a word for metrics": (
        bad.values(lambda record: record.update(metrics="oops")),
        r"must hold dict\[str, dict\[str, float\]\] as its metrics, got 'oops'",
    ),
    "a word among metrics": (
        bad.values(lambda record: record["metrics"]["dev"].update(accuracy="high")),
        r"must hold dict\[.*\] as its metrics, got ",
    ),
    "a tag for a seed": (
        bad.values(lambda record: record.update(seed="<img src=x>")),
        r"must hold int as its seed, got '<img src=x>'",
    ),
    "a truth for a seed": (bad.values(lambda record: record.update(seed=True)), r"must hold int as its seed"),
    "no name of a corpus": (
        bad.values(lambda record: record["corpus"].pop("name")),
        r"must hold str as the name of its corpus",
    ),
    "no seconds": (
        bad.values(lambda record: record.update(seconds={})),
        r"must hold float as the total of its seconds",
    ),
    "an epoch without dev": (
        bad.values(lambda record: record["history"][0].pop("dev")),
        r"must hold dict\[str, float\] as the dev of its history",
    ),
    "an empty config": (
        bad.values(lambda record: record.update(config={})),
        r"must hold dict\[str, .*Any\] as the task of its config",
    ),
    "a key twice": (bad.replace(b'"seed"', b'"seed": 1, "seed"'), r"keys must be different in an object"),
    "deep": (
        bad.replace(b'"history": [', b'"history": ' + b"[" * 20_000 + b"]" * 20_000 + b', "x": ['),
        r"cannot read the record .*: values must be nested a few times at most",
    ),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-9]), r"cannot read the record"),
    "key": (bad.replace(b'"seed"', b'"sede"'), r"must hold the fields of a record, got sede too many"),
    "a pipe": (bad.make_pipe, r"cannot read the record .*: .*json must be a file, got a pipe or device"),
    "NaN": (bad.replace(b'"best_epoch": 1', b'"best_epoch": NaN'), r"numbers must be finite, got NaN"),
    "a copy": (
        lambda file: shutil.copy(file, file.with_name("z.json")),
        r"must hold the record of z, got that of",
    ),
}


@pytest.mark.measures("bad checkpoint")
@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_a_record_that_is_damaged_is_refused(
    trained: Path, folder: Path, capsys: Capture, fault: str
) -> None:
    spoil, sentence = RECORD_FAULTS[fault]
    shutil.copytree(trained / "results" / "runs", folder / "results" / "runs")
    spoil(next((folder / "results" / "runs").iterdir()))
    assert re.search(sentence, refused(tables.main, capsys))


@pytest.mark.measures("bad checkpoint")
@pytest.mark.parametrize("fault", ["cut", "a pipe"])
def test_a_damaged_record_is_not_taken_for_a_finished_run(
    trained: Path, folder: Path, capsys: Capture, fault: str
) -> None:
    shutil.copytree(trained / "results" / "runs", folder / "results" / "runs")
    spoil, sentence = RECORD_FAULTS[fault]
    spoil(next((folder / "results" / "runs").glob("snli-*")))
    assert re.search(sentence, refused(lambda: train(training("snli")), capsys))


@pytest.mark.measures("bad checkpoint")
@pytest.mark.parametrize("spoil", [bad.make_link, bad.make_pipe])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: journal_storage(path, Path("lock")),
        lambda path: run_until_done(Job("a", ("seed=x",)), path, lambda: False),
    ],
)
def test_what_is_written_to_is_a_file_of_its_own(
    folder: Path, write: Callable[[Path], object], spoil: Spoil
) -> None:
    Path("a.log").touch()
    spoil(Path("a.log"))
    with pytest.raises(OSError, match=r"a\.log must be a file, got a (link to another|pipe or device)"):
        write(Path("a.log"))


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("read", [kernel_costs, render])
def test_a_pipe_is_refused_and_not_waited_for(folder: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo("a.json")
    with pytest.raises(OSError, match=r"a\.json must be a file, got a pipe or device"):
        read(Path("a.json"))
