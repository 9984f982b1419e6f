"""Machine code on disk: used again, but not after an edit of what it was made of, nor after damage."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regattn
from regattn import MAPPINGS
from regattn.__main__ import main
from regattn.kernels.cpu import compiling, fusedmax, groups, openmp, sparsemax

ROOT = Path(__file__).resolve().parents[2]
NOTICE = "regattn: compiling double (once, about 10 s)"
FOLDER = Path(compiling.__file__).parent
FILES = sorted(file.name for file in FOLDER.glob("*.py"))


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """Where machine code is kept meanwhile."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(compiling, "_said", set())
    folder = compiling.cache_folder()
    assert folder is not None
    return folder


@pytest.fixture
def compile_anew(kept, tmp_path, monkeypatch) -> Callable[[], bool]:
    file = tmp_path / "doubling.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    spec = importlib.util.spec_from_file_location("doubling", file)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "doubling", module)  # numba looks it up by its name
    spec.loader.exec_module(module)

    def compile_anew() -> bool:
        """Whether machine code was found on disk."""
        double = compiling.kernel(module.double)
        assert double(3) == 6
        return bool(double.stats.cache_hits)

    return compile_anew


@pytest.fixture
def said(capsys) -> Callable[[], list[str]]:
    """Lines on stderr, but those that say why a slow processor lets people wait."""
    return lambda: [line for line in capsys.readouterr().err.splitlines() if not line.startswith(NOTICE)]


def test_machine_code_is_kept_until_the_files_change(compile_anew, monkeypatch):
    assert [compile_anew(), compile_anew()] == [False, True]
    monkeypatch.setattr(compiling, "_FILES", "others")
    assert [compile_anew(), compile_anew()] == [False, True]


def test_every_file_counts(tmp_path):
    copy = shutil.copytree(FOLDER, tmp_path / "cpu", ignore=shutil.ignore_patterns("__pycache__"))
    found = [compiling.fingerprint(copy)]
    for name in FILES:
        (copy / name).write_text((copy / name).read_text() + "\n")
        found.append(compiling.fingerprint(copy))
    assert found[0] == compiling._FILES and len(set(found)) == len(FILES) + 1


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "cut": lambda data, rng: data[: rng.integers(len(data))],
    "emptied": lambda data, rng: b"",
    "flipped": lambda data, rng: flipped(data, int(rng.integers(8 * len(data)))),
    "zeroed": lambda data, rng: bytes(len(data)),
    "longer": lambda data, rng: data + b"\0",
}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_damaged_code_is_compiled_anew(compile_anew, kept, said, measure, monkeypatch):
    assert not compile_anew()
    (file,) = kept.iterdir()
    whole, found, rng = file.read_bytes(), measure("compiled code"), np.random.default_rng(0)
    for trial in range(found.n):
        damage = [*DAMAGES][trial % len(DAMAGES)]
        file.write_bytes(DAMAGES[damage](whole, rng))
        monkeypatch.setattr(compiling, "_said", set())
        again = [compile_anew(), compile_anew()]
        lines = said()
        right = again == [False, True] and len(lines) == 1 and f"{file} is damaged" in lines[0]
        found.all(right, damage=damage)


def test_what_is_no_file_is_compiled_anew(compile_anew, kept, said):
    assert not compile_anew()
    (file,) = kept.iterdir()
    file.unlink()
    file.mkdir()
    assert not compile_anew()
    lines = said()
    assert f"{file} cannot be read (Is a directory)" in lines[0] and len(lines) == 2


def test_without_a_place_nothing_is_kept(compile_anew, tmp_path, said, monkeypatch):
    (tmp_path / "kept").write_text("")  # as a folder that is read only, which root could write
    assert [compile_anew(), compile_anew()] == [False, False]
    lines = said()
    assert len(lines) == 1 and "cannot be kept in" in lines[0]
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody's home
    assert compiling.cache_folder() is None
    assert [compile_anew(), compile_anew()] == [False, False] and not said()


def test_processes_at_once_and_without_a_home(compile_anew, kept, tmp_path):
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path / "kept"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
    }
    environment.pop("HOME", None)
    code = (
        "import doubling\nfrom regattn.kernels.cpu.compiling import kernel\nprint(kernel(doubling.double)(3))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    for process in started:
        printed, errors = process.communicate()
        assert printed == "6\n" and set(errors.splitlines()) <= {NOTICE}, errors
    assert len([*kept.iterdir()]) == 1 and compile_anew()


def test_who_waits_for_long_is_told_why(compile_anew, kept, capsys, monkeypatch):
    class AtOnce:
        def __init__(self, seconds: float, function: Callable[..., None], arguments: Any = ()) -> None:
            self.start = lambda: function(*arguments)
            self.cancel = self.join = lambda: None

    monkeypatch.setattr(compiling.threading, "Timer", AtOnce)
    compile_anew()
    assert capsys.readouterr().err == f"{NOTICE}\n"
    compile_anew()
    assert capsys.readouterr().err == ""


def test_nothing_is_left_to_compile_after_precompiling(threads, capsys):
    assert main(["precompile", "sparsemax", "fusedmax"]) == 0
    assert capsys.readouterr().out.startswith("sparsemax: ")
    kernels = (sparsemax.sparsemax_rows, groups.group_average_rows, openmp._solve_in_threads)
    kernels += (fusedmax.fusedmax_rows, fusedmax.penalty_slope_rows)
    compiled = [kernel.signatures for kernel in kernels]
    for dtype, shape, number in product(
        [torch.float64, torch.float32, torch.bfloat16], [(2, 3), (5,), (2, 9_000), (50_000, 3)], [1, 2]
    ):
        threads(number)
        scores = torch.randn(shape, dtype=dtype, requires_grad=True)
        gamma = torch.tensor(0.5, requires_grad=True)
        for mask in (None, torch.rand(shape) < 0.5):
            regattn.sparsemax(scores, gamma=gamma, mask=mask).sum().backward()
            regattn.fusedmax(scores, gamma=gamma, lam=gamma, mask=mask).sum().backward()
    assert [kernel.signatures for kernel in kernels] == compiled


def test_precompiling_what_is_unknown_is_refused(capsys):
    assert main(["precompile", "fusedmx"]) == 2
    refusal = f"mapping must be one of {', '.join(MAPPINGS)}, got 'fusedmx'"
    assert refusal in capsys.readouterr().err
    module = subprocess.run(
        [sys.executable, "-m", "regattn.precompile", "fusedmx"], capture_output=True, text=True, cwd=ROOT
    )
    assert (module.returncode, refusal in module.stderr) == (2, True)
