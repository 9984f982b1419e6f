"""What of results/ is committed: a person's own runs beside it change no figure that is published."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tasks.training.records import Record, read_records

ROOT = Path(__file__).resolve().parents[3]


@cache
def stored_records() -> list[Record]:
    """Records in results/, whether git knows of them or not."""
    return read_records(ROOT / "results" / "runs")


def committed(folder: str) -> set[str]:
    """Names of the files in a folder that git knows of."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("which files are committed is known in a git checkout alone")
    return {Path(name).name for name in listed.stdout.split()}


def committed_records() -> list[Record]:
    """Records that git knows of, all of whose details it knows of, too."""
    names = committed("results/runs")
    records = [r for r in stored_records() if f"{r.id}.json" in names]
    assert names and {f"{r.id}.json" for r in records if r.details} <= committed("results/details")
    return records
