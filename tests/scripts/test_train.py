"""The command that a record says to run again."""

import shlex
import subprocess
from pathlib import Path

import pytest

from scripts.runs.training import make_command

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
            "data.root=a b",
            "experiment=small/gigaword",
        ],
    ],
    ids=lambda overrides: overrides[0],
)
def test_make_passes_the_overrides_on(overrides: list[str]) -> None:
    make = [*shlex.split(make_command(overrides)), "-n", "-o", ".venv/installed"]
    said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(overrides) <= set(shlex.split(said))
