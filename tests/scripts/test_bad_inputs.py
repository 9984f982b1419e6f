"""Every bad input, through the commands that a person calls: one sentence, a status, nothing changed."""

from __future__ import annotations

import io
import json
import re
import resource
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, FloatNode, IntegerNode, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scripts import cli, tables
from scripts.evaluate import evaluate
from scripts.generate import generate
from scripts.predict import predict
from scripts.runs import set_up
from scripts.train import main as train
from tasks.training.rundir import RunDirectory
from tests.scripts import bad_inputs as bad
from tests.scripts.bad_inputs import Spoil, listing, reading, training, write_corpus

Capture = pytest.CaptureFixture[str]


def refused(command: Callable[[], object], capsys: Capture) -> str:
    """The one sentence of a command that is refused; nothing in the current folder may change."""
    capsys.readouterr()
    before = listing(Path.cwd())
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    said = capsys.readouterr().err
    assert stop.value.code == cli.WRONG_INPUT
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert listing(Path.cwd()) == before
    return said


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------ data
TEXT_FAULTS: dict[str, tuple[Spoil, str]] = {
    "missing": (bad.remove, r"corpus wants a file .*, got "),
    "a directory": (bad.make_directory, r"corpus wants a file .*, got "),
    "empty": (bad.content(b""), r"wants to hold data, got an empty file"),
    "no UTF-8": (bad.insert(b"\xff", 20), r"wants UTF-8, got byte 0xff at offset 20"),
    "cut inside a letter": (bad.insert(b"\xc3", 20), r"wants UTF-8, got byte 0xc3 at offset 20"),
    "CR": (bad.insert(b"\r", 20), r"wants no 0x0d inside a line, got one at offset 20"),
    "NUL": (bad.insert(b"\0", 20), r"wants no 0x00 inside a line, got one at offset 20"),
}


@pytest.mark.parametrize("fault", TEXT_FAULTS)
@pytest.mark.parametrize("task", bad.SIDES)
def test_a_text_that_is_none_is_refused(folder: Path, capsys: Capture, task: str, fault: str) -> None:
    spoil, sentence = TEXT_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    spoil(folder / "corpus" / bad.MAIN[task])
    assert re.search(sentence, refused(lambda: train(reading(task)), capsys))


LINES = b"one\ntwo\nthree\nfour\n"
FILE_FAULTS: dict[str, tuple[str, Spoil, str]] = {
    "wrong columns": (
        "snli",
        bad.replace(b"gold_label", b"verdict"),
        r"wants a column gold_label or label, got",
    ),
    "a short row": ("snli", bad.replace(b"\tneutral", b""), r"train\.tsv, row 2 wants 3 columns, got 2"),
    "unknown label": (
        "snli",
        bad.replace(b"\tneutral", b"\tmaybe"),
        r"train\.tsv, row 2 wants a label among .* got 'maybe'",
    ),
    "no label at all": (
        "snli",
        bad.replace(b"\tneutral", b"\t-", 9),
        r"the train split of snli wants a pair, got none; dropped: no_label 5",
    ),
    "a field of 1 MB": ("snli", bad.insert(b"x" * 10**6, 40), r"wants rows of fields, got: field larger"),
    "fewer lines": ("translation", bad.content(LINES), r"train\.de wants a line 5 .* got 4 lines"),
    "more lines": ("translation", bad.content(2 * LINES), r"train\.en wants a line 6 .* got 5 lines"),
    "a blank line": (
        "translation",
        bad.replace(b"\nthe small boy near the river sees number 1\n", b"\n \n"),
        r"train\.de, line 2 wants text because .* has some, got a blank line",
    ),
    "lines of 1 MB": (
        "translation",
        bad.replace(b"number", b"x" * 10**6, 9),
        r"the train split of .* wants an example, got none; dropped: too_long 5",
    ),
    "fewer headlines": ("gigaword", bad.content(LINES), r"article\.txt wants a line 5 .* got 4 lines"),
    "a cut archive": (
        "translation",
        bad.cut_gzip,
        r"train\.de\.gz wants a whole gzip file, got a damaged one",
    ),
    "a cut archive of news": ("gigaword", bad.cut_gzip, r"wants a whole gzip file, got a damaged one"),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_file_that_does_not_fit_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    task, spoil, sentence = FILE_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    spoil(folder / "corpus" / bad.MAIN[task])
    assert re.search(sentence, refused(lambda: train(reading(task)), capsys))


@pytest.mark.parametrize("task", bad.SIDES)
def test_the_corpora_are_good_before_they_are_spoilt(folder: Path, task: str) -> None:
    """And a byte-order mark, U+2028, Windows line ends, a long line and label "-" are no faults."""
    write_corpus(folder / "corpus", task)
    for file in bad.SIDES[task][0]:
        path = folder / "corpus" / file
        long = b"x" * 20_000 + (b"\tb\tneutral" if task == "snli" else b"")
        text = path.read_bytes().replace(b"sees", "\u2028".encode()) + long + b"\n"
        path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    small = ["task.hidden_size=8"] if task == "snli" else ["task.text.tokenizer=words"]
    corpus = set_up(cli.read_config(reading(task, *small))).task.corpus
    assert corpus.dropped["train"] == {"too_long": 1} | ({"no_label": 1} if task == "snli" else {})
    assert corpus.sizes["train"] == 5 - (task == "snli")


ARGUMENT_FAULTS: dict[str, tuple[str, list[str], str]] = {
    "a file outside": (
        "snli",
        ["data.train_files=[../train.tsv]"],
        r"a file name must stay inside corpus, got '\.\./train\.tsv'",
    ),
    "an absolute file": (
        "translation",
        ["data.train=[/etc/passwd]"],
        r"must stay inside corpus, got '/etc/pas",
    ),
    "news outside": ("gigaword", ["data.train=[../x.tsv]"], r"must stay inside corpus, got"),
    "nothing short enough": (
        "translation",
        ["task.batches.max_length=1", "task.text.tokenizer=words"],
        r"training wants a pair of 1 to 1 tokens on both sides, got none",
    ),
    "no vectors": ("snli", ["task.vectors=none.txt"], r"none\.txt wants to be a file, got nothing there"),
    "no list": (
        "snli",
        ["data.train_files=train.tsv"],
        r"data\.train_files must be Sequence\[str\], got 'train",
    ),
    "no dictionary": ("snli", ["data.keep=3"], r"data\.keep must be Mapping.*, got 3"),
    "no number": (
        "translation",
        ["data.held_out={dev:many}"],
        r"data\.held_out must be Mapping\[str, int\].*got",
    ),
}


@pytest.mark.parametrize("fault", ARGUMENT_FAULTS)
def test_what_a_corpus_cannot_be_read_with_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    task, overrides, sentence = ARGUMENT_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    assert re.search(sentence, refused(lambda: train(reading(task, *overrides)), capsys))


def test_nothing_of_an_archive_is_written(folder: Path, capsys: Capture) -> None:
    """Members that would lie outside, or be links, are read where they lie or not at all."""
    write_corpus(folder / "corpus", "snli")
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    for number, name in enumerate(("../../outside.txt", "/outside.txt", link)):
        with zipfile.ZipFile(folder / f"{number}.zip", "w") as archive:
            archive.writestr(name, "/etc/passwd")
        said = refused(lambda n=number: train(reading("snli", f"task.vectors={n}.zip")), capsys)
        assert re.search(r"line 1 wants a word and 1 numbers, got 0 numbers", said)


# ------------------------------------------------------------------ config
CONFIG_FAULTS = {
    "typo": (["trainer.epoch=3"], r"trainer\.epoch is no key: .*; did you mean epochs\?"),
    "typo with +": (["+sede=3"], r"sede is no key: .*; did you mean seed\?"),
    "type": (["trainer.epochs=many"], r"trainer\.epochs: value 'many' of type 'str' could not be converted"),
    "no mapping": (
        ["attention=fusemax"],
        r"attention must be one of .*, got 'fusemax'; did you mean fusedmax\?",
    ),
    "mapping outside": (
        ["attention=../../fusedmax"],
        r"attention must name a file inside configs/attention, got '\.\./\.\./fusedmax'",
    ),
    "target": (["attention._target_=os.mkdir"], r"attention\._target_ must be one of .*, got 'os\.mkdir'"),
    "no pair": (["seed"], r"wants the form key=value, got 'seed'"),
    "no such value": (["tier='${nothing}'"], r"'nothing' not found"),
    "seed": (["seed=-1"], r"seed must be an integer of at least 0, got -1"),
    "no such file system": (
        ["output_dir=file/runs"],
        r"output_dir must be a folder that can be written, got file",
    ),
    "results": (["results_dir=file"], r"results_dir must be a folder that can be written, got file"),
    "no hub": (
        ["data=snli/snli"],
        r"wants the hub, got no connection .*: pass a folder with its files instead",
    ),
    "no run to resume": (
        ["resume", "nothing"],
        r"RUN must name one run in runs/, got 'nothing', which fits none",
    ),
    "run outside": (["resume", "../file"], r"RUN must name one run in runs/, got '\.\./file'"),
    "absolute run": (["resume", "/nothing"], r"RUN must name one run in runs/, got '/nothing'"),
    "run as pattern": (["resume", "**"], r"RUN must name one run in runs/, got '\*\*'"),
}
if not torch.cuda.is_available():
    CONFIG_FAULTS["no GPU"] = (["trainer.device=cuda"], r"device must be cpu or auto where .*, got cuda")


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_config_that_cannot_be_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    overrides, sentence = CONFIG_FAULTS[fault]
    (folder / "file").write_text("no folder")
    started = overrides if overrides[0] == "resume" else [*training("snli"), *overrides]
    if overrides == ["data=snli/snli"]:
        started = ["task=snli", *overrides]
    assert re.search(sentence, refused(lambda: train(started), capsys))


def numbers(node: DictConfig, place: str = "") -> Iterator[str]:
    """Dotted names of all numbers in a config."""
    for key in node:
        below = node._get_node(key)
        if isinstance(below, DictConfig) and not below._is_none():
            yield from numbers(below, f"{place}{key}.")
        elif isinstance(below, IntegerNode | FloatNode):
            yield f"{place}{key}"


@pytest.mark.parametrize(
    "choice",
    [
        ["task=snli", "attention=fusedmax", "optim=adam"],
        ["task=translation", "attention=pnormmax", "optim=adamw"],
        ["task=gigaword", "attention=oscarmax", "optim=sgd"],
    ],
    ids=lambda choice: choice[0],
)
def test_no_number_may_be_negative_or_not_finite(choice: list[str]) -> None:
    """Refused before any file is looked for: there is no corpus."""
    task = choice[0].removeprefix("task=")
    config = cli.read_config([*choice, f"data={task}/folder", "data.root=nowhere"])
    found = {*numbers(config)}
    assert {
        "seed",
        "trainer.epochs",
        "trainer.clip_norm",
        "optim.lr",
        "attention.gamma",
        "data.limit",
    } <= found
    accepted = []
    for key in sorted(found):
        for value in ("nan", "inf", "-1"):
            with pytest.raises((ValueError, OmegaConfBaseException, InstantiationException)) as error:
                changed = config.copy()
                OmegaConf.update(changed, key, value)
                set_up(changed)
            if "nowhere" in str(error.value.__cause__ or error.value):
                accepted.append((key, value))
    assert not accepted


# ------------------------------------------------------------------ runs
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
    "newer": (bad.checkpoints(bad.newer), EVERY, r"must have checkpoint format 1, got format 2"),
    "malicious": (bad.checkpoints(bad.pickled), EVERY, r"checkpoint\.ckpt is damaged or no checkpoint"),
    "foreign": (
        bad.checkpoints(bad.foreign),
        EVERY,
        r"must hold the state of a run|must have this run's config",
    ),
    "cut config": (bad.stored("config.json", '{"task": '), EVERY, r"config\.json wants JSON, got a damaged"),
    "no config": (bad.stored("config.json", "[]"), EVERY, r"config\.json wants a dictionary, got another"),
    "empty config": (bad.stored("config.json", "{}"), EVERY, r"attention must be a section|wants a run of"),
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
    "other vocabulary": (
        bad.other_vocabulary,
        EVERY[1:3],
        r"must have this run's vocabulary, .*, got|tokenizers must have source and target, got",
    ),
    "no vocabulary": (
        bad.stored("vocabulary.json", "5"),
        EVERY[1:3],
        r"vocabulary\.json wants what a run keeps there, got something else",
    ),
}
CASES = [(fault, command) for fault, (_, commands, _) in RUN_FAULTS.items() for command in commands]


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
    assert "line 2 of the input wants" in said and wanted in said


# ------------------------------------------------------------------ records
RECORD_FAULTS: dict[str, tuple[Spoil, str]] = {
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-9]), r"cannot read the record"),
    "key": (bad.replace(b'"seed"', b'"sede"'), r"must hold the fields of a record, got sede too many"),
    "NaN": (bad.replace(b'"best_epoch": 1', b'"best_epoch": NaN'), r"numbers must be finite, got NaN"),
    "a copy": (
        lambda file: shutil.copy(file, file.with_name("z.json")),
        r"must hold the record of z, got that of",
    ),
}


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_a_record_that_is_damaged_is_refused(
    trained: Path, folder: Path, capsys: Capture, fault: str
) -> None:
    spoil, sentence = RECORD_FAULTS[fault]
    shutil.copytree(trained / "results" / "runs", folder / "results" / "runs")
    spoil(next((folder / "results" / "runs").iterdir()))
    assert re.search(sentence, refused(tables.main, capsys))


# ------------------------------------------------------------------ environment
@pytest.mark.parametrize("room", [1_000, 20_000])
def test_a_full_disk_loses_and_tears_nothing(folder: Path, capsys: Capture, room: int) -> None:
    """No file may grow beyond ``room`` bytes, which fails as a full disk does: in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(SystemExit) as stop:
            train(training("snli"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stop.value.code == cli.WRONG_INPUT
    assert re.search(r"error: (cannot save )?runs/.*: File too large\n", capsys.readouterr().err)
    assert not list(folder.rglob("*.tmp")) and not (folder / "results").exists()
    for file in folder.rglob("*.json"):
        json.loads(file.read_text())
    train(training("snli"))
    assert len(list((folder / "results/runs").iterdir())) == 1


def test_an_output_folder_that_cannot_be_made_is_named(folder: Path, capsys: Capture) -> None:
    """Of /sys nothing can be made a folder, whoever one is."""
    said = refused(lambda: train([*training("snli"), "output_dir=/sys/regattn"]), capsys)
    assert "/sys/regattn" in said
