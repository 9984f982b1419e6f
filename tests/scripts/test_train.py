"""The command that a record says to run again."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from scripts.cli import UsageError
from scripts.runs.config import folder_overrides, read_config
from scripts.runs.training import make_command, portable
from scripts.several import several
from tests.scripts.conftest import Made

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=snli", "attention=fusedmax", "data=snli/mini", "logger=none"],
        [
            "task=translation",
            "attention=oscarmax",
            "data=translation/mini",
            "data.pair=fr-en",
            "logger=none",
            "seed=3",
        ],
        [
            "task=gigaword",
            "attention=softmax",
            "data=gigaword/headlines",
            "data.root='a b $c'",
            "experiment=small/gigaword",
        ],
    ],
    ids=lambda overrides: overrides[0],
)
def test_make_passes_the_overrides_on(overrides: list[str], made: Made) -> None:
    assert set(overrides) <= set(made(*shlex.split(make_command(overrides))))


def test_a_record_names_no_folder_that_a_reader_has_otherwise() -> None:
    small, own = ["experiment=small/translation", "seed=2"], ["task=snli", "data=snli/folder", "data.root=a"]
    assert portable([*small, "data.root=../elsewhere"]) == portable(small) == small
    assert portable(own) == own


FOLDERS = [
    "my data",
    "a=b",
    "it's",
    '"a"',
    "[a]",
    "{a: b}",
    "a,b",
    "a$b",
    "$(shell touch made)",
    "été",
    "a\\",
]
FOLDERS += [
    "`touch made`",
    "x'; touch made; '",
    '"; touch made; "',
    "$HOME",
    "a;touch made",
    "123",
    "null",
    "~",
    "./mini",
    "../snli/mini",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_may_have_any_name(folder: str, made: Made) -> None:
    overrides = folder_overrides(made("make", "train", f"DATA={folder}"))
    assert read_config(overrides).data.root == folder
    assert not (ROOT / "made").exists()


@pytest.mark.parametrize("target", ["sweep", "tune"])
def test_every_target_takes_such_a_folder(target: str, made: Made) -> None:
    assert "DATA=it's [a] $b" in made("make", target, "DATA=it's [a] $b")


@pytest.mark.parametrize(
    ("command", "unread"),
    [
        ("train seed=3", "seed"),
        ("train ATTN=oscarmax ARGS=attention.lam=0.05 seed=3", "seed"),
        ("evaluate RUN=a DEVICE=cuda", "DEVICE"),
        ("train SEEDS=3", "SEEDS"),
        ("tables TIER=small", "TIER"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(command: str, unread: str) -> None:
    # Beneath another make, as here in `make test`, it would print where it enters.
    words = ["make", "--no-print-directory", *command.split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert "must get variables among" in done.stderr and f"got {unread};" in done.stderr
    assert 'go into ARGS, all in one pair of quotes, as in ARGS="' in done.stderr


@pytest.mark.parametrize("name", ["DATA", "ATTN", "ARGS"])
def test_a_variable_of_several_lines_is_refused(name: str, tmp_path: Path) -> None:
    words = ["make", "--no-print-directory", "-i", "train", f"{name}=a\ntouch {tmp_path}/made"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.endswith(f"{name} must be one line, got several.  Stop.\n")
    assert not done.stdout and not [*tmp_path.iterdir()]


def test_recipes_name_what_they_read_and_take_it_as_typed() -> None:
    text = (ROOT / "Makefile").read_text()
    names = set(re.findall(r"^(\w+) \?=", text, re.MULTILINE)) - {"PYTHON", "TORCH_INDEX"}
    read = re.findall(r"^reads-\S+ := (.*)", text, re.MULTILINE)
    assert names == set(re.findall(r"\b[A-Z_]+\b", " ".join(read)))
    assert set(re.findall(r"\$[({](\w+)[)}]", text)) & names == {"ARGS"}


@pytest.mark.parametrize("number", ["", "0", "-1", "x", "2 3", "$(shell touch made)"])
def test_a_number_of_processes_is_one(number: str, made: Made) -> None:
    assert made("make", "train", f"NPROC={number}")[0] == number
    with pytest.raises(UsageError, match="NPROC must be an integer of at least 1, got "):
        several([number])


def test_a_device_is_passed_on(made: Made) -> None:
    assert "trainer.device=cuda" in made("make", "train", "DEVICE=cuda")
    assert not [word for word in made("make", "train") if word.startswith("trainer.")]
