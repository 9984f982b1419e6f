"""Corpora on disk, the ways to spoil them and a run, and how a command refuses: for tests of bad inputs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import cli
from tasks.training import checkpoint

Spoil = Callable[[Path], object]
Capture = pytest.CaptureFixture[str]

TEXT = "the small boy near the river sees number {}"
SIDES = {
    "snli": [("train.tsv",), ("dev.tsv",), ("test.tsv",)],
    "translation": [(f"{split}.de", f"{split}.en") for split in ("train", "dev", "test")],
    "gigaword": [
        ("train.article.txt", "train.title.txt"),
        ("valid.article.filter.txt", "valid.title.filter.txt"),
        ("Giga/input.txt", "Giga/task1_ref0.txt"),
    ],
}
MAIN = {task: sides[0][0] for task, sides in SIDES.items()}
"""The file that is spoilt."""

TINY = {
    "snli": ["data.train=96", "data.dev=9", "data.test=9", "task.hidden_size=8"],
    "translation": ["data.train=64", "data.dev=8", "data.test=8", "optim.warmup_steps=1"],
}
TINY["translation"] += ["task.model.hidden_size=8", "task.model.embedding_size=8", "task.search.max_length=9"]
QUICK = ["debug=tiny", "trainer.threads=1", "progress=false", "output_dir=runs", "results_dir=results"]


def training(task: str) -> list[str]:
    """Overrides of a training of a second."""
    return [*QUICK, f"task={task}", f"data={task}/mini", *TINY[task]]


def reading(task: str, *overrides: str) -> list[str]:
    """Overrides of a training on the corpus that :func:`write_corpus` writes."""
    return [*QUICK, f"task={task}", f"data={task}/folder", "data.root=corpus", *overrides]


def write_corpus(folder: Path, task: str) -> None:
    """A corpus of five pairs a split."""
    for number, files in enumerate(SIDES[task]):
        rows = [TEXT.format(10 * number + row) for row in range(5)]
        if task == "snli":
            rows = [f"{row}\t{row} .\t{'neutral' if i else '-'}" for i, row in enumerate(rows)]
            rows = ["premise\thypothesis\tgold_label", *rows]
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("\n".join(rows) + "\n")


# ------------------------------------------------------------------ a file of a corpus
def remove(file: Path) -> None:
    file.unlink()


def make_pipe(file: Path) -> None:
    """Whoever opens it waits for somebody to write."""
    remove(file)
    os.mkfifo(file)


def make_link_to_nothing(file: Path) -> None:
    remove(file)
    file.symlink_to("nothing")


def make_link(file: Path) -> None:
    """To a file that must stay as it is."""
    file.unlink(missing_ok=True)
    Path("precious").write_text("as it was")
    file.symlink_to(Path("precious").absolute())


def make_directory(file: Path) -> None:
    remove(file)
    file.mkdir()


def content(data: bytes) -> Spoil:
    return lambda file: file.write_bytes(data)


def insert(data: bytes, at: int) -> Spoil:
    return lambda file: file.write_bytes(file.read_bytes()[:at] + data + file.read_bytes()[at:])


def replace(old: bytes, new: bytes, count: int = 1) -> Spoil:
    return lambda file: file.write_bytes(file.read_bytes().replace(old, new, count))


def cut_gzip(file: Path) -> None:
    packed = gzip.compress(file.read_bytes())[:-9]
    file.with_name(f"{file.name}.gz").write_bytes(packed)
    remove(file)


def values(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Other values in a JSON file."""

    def write(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return write


# ------------------------------------------------------------------ a run
def checkpoints(spoil: Spoil) -> Spoil:
    """Spoil the checkpoint and the one before it."""

    def both(run: Path) -> None:
        for file in (run / "checkpoint.ckpt", run / "checkpoint.ckpt.previous"):
            if file.exists():
                spoil(file)

    return both


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def newer(file: Path) -> None:
    """The same content under the next version of the format, its checksum right."""
    body = file.read_bytes().partition(b"\n")[2]
    prefix = b"regattn-checkpoint %d " % (checkpoint.FORMAT + 1)
    file.write_bytes(prefix + hashlib.sha256(prefix + body).hexdigest().encode() + b"\n" + body)


def foreign(file: Path) -> None:
    checkpoint.save(file, {"tensor": torch.ones(1)}, {"nothing": "of a run"})


class Malicious:
    """Unpickled, it would make a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made",)


def pickled(file: Path) -> None:
    torch.save(Malicious(), file)


def config(*keys: str, value: Any) -> Spoil:
    """Another value in the run's config."""

    def change(run: Path) -> None:
        values = json.loads((run / "config.json").read_text())
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (run / "config.json").write_text(json.dumps(values))

    return change


def stored(name: str, text: str) -> Spoil:
    """Another content of a file of the run."""
    return lambda run: (run / name).write_text(text)


def other_vocabulary(run: Path) -> None:
    text = (run / "vocabulary.json").read_text()
    words = json.loads(text)
    if isinstance(words, list):
        words[2:4] = words[3:1:-1]
        (run / "vocabulary.json").write_text(json.dumps(words))
    else:
        shutil.copy(run / "config.json", run / "vocabulary.json")


# ------------------------------------------------------------------ what is on the disk
def listing(folder: Path) -> dict[str, str]:
    """Every path below a folder, with the checksum of what is a file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def refused(command: Callable[[], object], capsys: Capture) -> str:
    """The one sentence of a command that is refused; nothing in the current folder may change."""
    capsys.readouterr()
    before = listing(Path.cwd())
    with pytest.raises(SystemExit) as stop:
        cli.main(command)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert stop.value.code == cli.WRONG_INPUT
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert listing(Path.cwd()) == before
    return said
