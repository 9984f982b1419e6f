"""Every bad file of a corpus, through the commands that a person calls."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from scripts.runs.config import read_config
from scripts.runs.setup import set_up
from scripts.train import main as train
from tests.scripts import bad_inputs as bad
from tests.scripts.bad_inputs import Capture, Spoil, reading, refused, write_corpus

TEXT_FAULTS: dict[str, tuple[Spoil, str]] = {
    "missing": (bad.remove, r"corpus must hold a file .*, got "),
    "a directory": (bad.make_directory, r"must be a file, got a directory"),
    "a pipe": (bad.make_pipe, r"must be a file, got a pipe or device"),
    "a link to nothing": (bad.make_link_to_nothing, r"must be a file, got a link to nothing"),
    "empty": (bad.content(b""), r"must hold data, got an empty file"),
    "no UTF-8": (bad.insert(b"\xff", 20), r"must be UTF-8, got byte 0xff at offset 20"),
    "cut inside a letter": (bad.insert(b"\xc3", 20), r"must be UTF-8, got byte 0xc3 at offset 20"),
    "NUL": (bad.insert(b"\0", 20), r"must have no 0x00 inside a line, got one at offset 20"),
}


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("fault", TEXT_FAULTS)
@pytest.mark.parametrize("task", bad.SIDES)
def test_a_text_that_is_none_is_refused(folder: Path, capsys: Capture, task: str, fault: str) -> None:
    spoil, sentence = TEXT_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    spoil(folder / "corpus" / bad.MAIN[task])
    assert re.search(sentence, refused(lambda: train(reading(task)), capsys))


LINES = b"one\ntwo\nthree\nfour\n"
FILE_FAULTS: dict[str, tuple[str, Spoil, str]] = {
    "CR": (
        "snli",
        bad.insert(b"\r", 40),
        r"train\.tsv, line 2 must have no 0x0d inside a line, got one at offset 40",
    ),
    "CRs": (
        "translation",
        bad.replace(b" sees", b"\rsees", 9),
        r"must have a pair, got none; dropped: carriage_return \(first in line 1\) 5",
    ),
    "wrong columns": (
        "snli",
        bad.replace(b"gold_label", b"verdict"),
        r"must have a column gold_label or label, got",
    ),
    "a short row": ("snli", bad.replace(b"\tneutral", b""), r"train\.tsv, row 2 must have 3 columns, got 2"),
    "a column twice": (
        "snli",
        bad.replace(b"hypothesis", b"premise"),
        r"train\.tsv must have different columns, got 'premise' twice",
    ),
    "unknown label": (
        "snli",
        bad.replace(b"\tneutral", b"\tmaybe"),
        r"train\.tsv, row 2 must have a label among .* got 'maybe'",
    ),
    "no label at all": (
        "snli",
        bad.replace(b"\tneutral", b"\t-", 9),
        r"the train split of snli must have a pair, got none; dropped: no_label 5",
    ),
    "a field of 17 MB": (
        "snli",
        bad.insert(b"x" * 17 * 2**20, 40),
        r"train\.tsv, line \d+ must begin a row of whole fields, got: field larger",
    ),
    "fewer lines": ("translation", bad.content(LINES), r"train\.de must have a line 5 .* got 4 lines"),
    "more lines": ("translation", bad.content(2 * LINES), r"train\.en must have a line 6 .* got 5 lines"),
    "lines of 1 MB": (
        "translation",
        bad.replace(b"number", b"x" * 10**6, 9),
        r"the train split of .* must have a pair, got none; dropped: too_long 5",
    ),
    "fewer headlines": ("gigaword", bad.content(LINES), r"article\.txt must have a line 5 .* got 4 lines"),
    "longer headlines": (
        "gigaword",
        bad.replace(b"the small boy near ", b"", 9),
        r"article\.txt must have headlines that are shorter than their sentences, got 5 longer ones of 5",
    ),
    "a cut archive": (
        "translation",
        bad.cut_gzip,
        r"train\.de\.gz must be a whole gzip file, got a damaged one",
    ),
    "a cut archive of news": ("gigaword", bad.cut_gzip, r"must be a whole gzip file, got a damaged one"),
}


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_file_that_does_not_fit_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    task, spoil, sentence = FILE_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    spoil(folder / "corpus" / bad.MAIN[task])
    assert re.search(sentence, refused(lambda: train(reading(task)), capsys))


@pytest.mark.measures("bad data")
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
    corpus = set_up(read_config(reading(task, *small))).task.corpus
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
        r"training must have a pair of 1 to 1 tokens on both sides, got none",
    ),
    "a file twice": (
        "snli",
        ["data.train_files=[dev.tsv,dev.tsv]"],
        r"train must name different files, got dev",
    ),
    "no languages": (
        "translation",
        ["data.pair=../de-en"],
        r"pair must be two languages such as de-en, got '\.\./de-en'",
    ),
    "a folder outside": (
        "snli",
        ["data.root=nothing/../nowhere"],
        r"nowhere must hold a file .*, got no such folder",
    ),
    "no vectors": ("snli", ["task.vectors=none.txt"], r"none\.txt must be a file, got nothing there"),
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


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("fault", ARGUMENT_FAULTS)
def test_what_a_corpus_cannot_be_read_with_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    task, overrides, sentence = ARGUMENT_FAULTS[fault]
    write_corpus(folder / "corpus", task)
    assert re.search(sentence, refused(lambda: train(reading(task, *overrides)), capsys))


LINK = zipfile.ZipInfo("link.txt")
LINK.external_attr = 0o120777 << 16


@pytest.mark.measures("hostile archives")
@pytest.mark.parametrize("name", ["../../outside.txt", "/outside.txt", LINK], ids=["above", "root", "link"])
def test_nothing_of_an_archive_is_written(folder: Path, capsys: Capture, name: str | zipfile.ZipInfo) -> None:
    """Members that would lie outside, or be links, are read where they lie or not at all."""
    write_corpus(folder / "corpus", "snli")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(name, "/etc/passwd")
    said = refused(lambda: train(reading("snli", "task.vectors=a.zip")), capsys)
    assert re.search(r"line 1 must have a word and its numbers, .*, got 0 numbers", said)


@pytest.mark.measures("bad data")
def test_a_training_names_every_file_with_what_is_odd_about_it(folder: Path, capsys: Capture) -> None:
    """The label "-" is counted and dropped, and the training goes on."""
    write_corpus(folder / "corpus", "snli")
    bad.replace(b"small", "sm\ufffdll".encode())(folder / "corpus" / "dev.tsv")
    train(reading("snli", "task.hidden_size=8", "trainer.max_steps=1"))
    said = capsys.readouterr().out
    assert "corpus/train.tsv, for train: 5 read; dropped: 1 no_label\n" in said
    assert "corpus/dev.tsv, for dev: 5 read; dropped: 1 no_label\n" in said


@pytest.mark.parametrize("task", ["translation", "gigaword"])
def test_a_streamed_run_is_the_run_that_is_stored(folder: Path, task: str) -> None:
    """Its id, every loss and every metric; so one may go on with the other."""
    write_corpus(folder / "corpus", task)
    sizes = ["task.model.hidden_size=8", "task.model.embedding_size=8", "task.search.max_length=9"]
    ran = []
    for name, stream in (("stored", "false"), ("streamed", "true")):
        where = [f"output_dir={name}", f"results_dir={name}/results"]
        train(reading(task, *sizes, f"data.stream={stream}", "trainer.epochs=2", *where))
        (log,), (record,) = folder.glob(f"{name}/*/metrics.jsonl"), folder.glob(f"{name}/results/runs/*")
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        losses = [line["loss"] for line in steps if line["event"] == "step"]
        ran.append((log.parent.name, losses, json.loads(record.read_text())["metrics"]))
    assert ran[0] == ran[1] and len(losses) == 2
