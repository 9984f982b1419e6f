"""Peers that are compiled are installed one by one, and one that fails keeps out no other."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIP = """#!/bin/bash
[[ "$*" == *--require-hashes* && "$*" == *--no-deps* ]] || exit 9
grep -o '^[a-z][a-z-]*==' "${@: -1}" | tee /dev/stderr | grep -qv prox-tv
"""


def test_one_that_fails_keeps_out_no_other(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(PIP)
    python.chmod(0o755)
    command = ["make", "bench-peers", f"VENV={tmp_path}", "-o", f"{tmp_path}/installed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    asked = [line.removesuffix("==") for line in done.stderr.split() if line.endswith("==")]
    assert asked[-2:] == ["prox-tv", "torchsort"] and len(asked) == len(set(asked)) > 5
    assert [line.partition(" did not")[0] for line in done.stdout.splitlines() if "did not" in line] == [
        "prox-tv"
    ]
