"""What tests of commands share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


Made = Callable[..., list[str]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """What a make command hands to the module that it starts, word by word."""
    root, venv = Path(__file__).resolve().parents[2], tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o755)

    def run(*command: str) -> list[str]:
        whole = [*command, f"VENV={venv}", "-o", f"{venv}/installed"]
        said = subprocess.run(whole, cwd=root, capture_output=True, text=True, check=True).stdout
        return said.split("\0")[2:-1]

    return run
