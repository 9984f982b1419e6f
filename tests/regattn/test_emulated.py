"""The GPU kernels without a GPU: run as PTX, and compiled by every Triton that torch may bring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from regattn import MAPPINGS
from tests.pairwise import pairwise

pytest.importorskip("triton", reason="the GPU kernels are written in Triton, which is not installed")

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "regattn" / "kernels" / "cuda"
FILES = {"softmax": "softmax"} | {name: spec.solver.file for name, spec in MAPPINGS.items() if spec.solver}
NAMES = [name for name, file in FILES.items() if (KERNELS / f"{file}.py").exists()]
VERSIONS = ["3.6.0", "3.7.1", "3.9.0"]
"""The oldest that works, and those that torch's CUDA builds and this repository's environment bring."""

LENGTHS = [20, 64, 100, 128, 512, 4096, 8192]
TYPES = ["float32", "bfloat16", "float16"]
RUNS = [
    *pairwise(NAMES, [7, 33, 64, 100, 257, 512], TYPES, [False, True]),
    *product(["softmax", "sparsemax"], [4096], ["float32"], [True]),
]
RUNS.sort(key=lambda case: case[1])  # the shortest rows, of every mapping, are what ordinary tests take
FORMS = [
    *pairwise(NAMES, [64, 512], TYPES, [False, True]),
    *product(NAMES, LENGTHS, TYPES, [False, True]),
]
FORMS = [*dict.fromkeys(FORMS)]


def in_a_process(work: str, cases: list[Any], cache: Path, triton: Path | None = None) -> list[Any]:
    """What each case comes to, by Triton from a folder; the first line says which versions were at work."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(cache)
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in (triton, ROOT) if p is not None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.regattn.emulation", work],
        input=json.dumps(cases),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    stopped = cases[len(found) - 1] if 0 < len(found) <= len(cases) else None
    assert done.returncode == 0, f"{stopped}: {done.stderr[-3000:]}"
    return found


@pytest.fixture
def cache(pytestconfig, tmp_path) -> Path:
    """What Triton has compiled before, of the same source, options and compiler, it finds again."""
    kept = getattr(pytestconfig, "cache", None)
    return kept.mkdir("triton") if kept else tmp_path


def test_emulated_kernels_are_right(measure, cache):
    """Forward and backward, with every kind of row, half precision and masks, and no race on the way."""
    measurement = measure("emulated")
    for case, found in zip(RUNS, in_a_process("run", RUNS[: measurement.n], cache)[1:], strict=False):
        measurement.within(max(found.values()), 1.0, of=case[0])


def other_triton(version: str, folder: Path, fetch: bool) -> Path:
    """Where another Triton than the installed one lies, fetched by pip if it may be."""
    place = folder / version
    if not place.exists():
        if not fetch:
            pytest.skip(f"Triton {version} is not in {folder}; pytest --exhaustive fetches it")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
        done = subprocess.run([*install, f"triton=={version}"], capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            pytest.skip(f"the wheel of Triton {version} cannot be had: {reason}")
    return place


@pytest.mark.parametrize("version", VERSIONS)
def test_kernels_compile_with_every_triton(version, measure, cache, pytestconfig):
    installed = version == metadata.version("triton")
    exhaustive = pytestconfig.getoption("--exhaustive") is not None
    place = None if installed else other_triton(version, cache / "versions", exhaustive)
    measurement = measure("compiled", parts=len(VERSIONS))
    cases = FORMS[: measurement.n]
    at_work, *found = in_a_process("compile", cases, cache / version, place)
    assert at_work["triton"] == version
    measurement.all([len(seconds) > 1 for seconds in found], triton=version)


def test_the_declared_range_of_triton_is_the_tested_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["triton"]
    assert extra == [f"triton>={VERSIONS[0].removesuffix('.0')}; platform_system == 'Linux'"]
