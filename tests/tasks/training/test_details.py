"""Details are what figures are made of: they come back as they were, and only to their own record."""

import os
from pathlib import Path

import pytest
import torch

from tasks.attention import AttentionGrid
from tasks.training.details import Details, Example, read_details, write_details
from tasks.training.records import RecordError

GRID = AttentionGrid(("ein", "Hund"), ("a",), torch.tensor([[0.25, 0.75]]), torch.tensor([[1, 2]]))
ITEMS = {"test": {"accuracy": [0, 1, 1], "bleu": [[3, 4, 2, 1], [5, 5, 5, 4]]}, "other": {"rouge1": [12.5]}}
DETAILS = Details(id="a", items=ITEMS, example=Example.of(GRID))


def test_details_come_back(tmp_path: Path) -> None:
    sha256 = write_details(tmp_path / "details", DETAILS)
    assert read_details(tmp_path / "details", "a", sha256) == DETAILS
    assert write_details(tmp_path / "again", DETAILS) == sha256


def test_an_example_is_as_long_as_its_words() -> None:
    example = DETAILS.example
    assert (example.source, example.target) == (["ein", "Hund"], ["a"])
    assert (example.weights, example.groups) == ([[0.25, 0.75]], [[1, 2]])
    assert torch.equal(example.grid.weights, GRID.weights) and torch.equal(example.grid.groups, GRID.groups)


def test_every_score_has_a_line(tmp_path: Path) -> None:
    write_details(tmp_path, DETAILS)
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert '"accuracy": [0,1,1],' in lines
    assert '"bleu": [[3,4,2,1],[5,5,5,4]]' in lines


@pytest.mark.parametrize("damage", ["gone", "other"])
def test_details_of_another_run_are_refused(tmp_path: Path, damage: str) -> None:
    sha256 = write_details(tmp_path, DETAILS)
    path = tmp_path / "a.json"
    path.unlink() if damage == "gone" else path.write_text(path.read_text().replace("12.5", "13.5"))
    with pytest.raises(RecordError, match=r"a\.json"):
        read_details(tmp_path, "a", sha256)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    bad = Details(id="a", items={"test": {"rouge1": [float("nan")]}}, example=DETAILS.example)
    with pytest.raises(ValueError, match="JSON"):
        write_details(tmp_path, bad)
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(RecordError, match=r"a\.json must be a file, got a pipe or device; make evaluate"):
        read_details(tmp_path, "a", "0" * 64)
