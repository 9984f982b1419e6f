"""Imports run one way, scripts → tasks → regattn → torch."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What single files and folders of the library may import beyond torch, numpy and numba.
EXTRAS = {
    "regattn/kernels/cpu/vectors.py": ["llvmlite"],  # numba's own
    "regattn/kernels/cpu/openmp.py": ["llvmlite"],
    "regattn/kernels/cuda": ["triton"],
    "regattn/huggingface.py": ["transformers"],
    "regattn/_heatmap.py": ["matplotlib"],
    "regattn/_groups.py": ["matplotlib"],  # for its type
}


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of everything that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


@cache
def imports_of(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imported(ast.parse(path.read_text(encoding="utf-8")), package))


def within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def sources(*places: str) -> list[Path]:
    """The Python files of these folders and modules, of which there are some."""
    found = [sorted((ROOT / place).rglob("*.py")) or [ROOT / f"{place}.py"] for place in places]
    return [path for paths in found for path in paths]


def extras(path: Path) -> list[list[str]]:
    place = path.relative_to(ROOT).as_posix()
    return [packages for start, packages in EXTRAS.items() if place.startswith(start)]


def importing(places: Iterable[str], *packages: str) -> list[str]:
    """Who in these folders and modules imports anything within ``packages``, and what."""
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(*places)
        for name in sorted(imports_of(path))
        if within(name, packages)
    ]


def test_library_needs_torch_numpy_and_numba_alone():
    allowed = {"regattn", "torch", "numpy", "numba", *sys.stdlib_module_names}
    assert not [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("regattn")
        for name in sorted(imports_of(path))
        if not within(name, allowed.union(*extras(path)))
    ]


def test_transformers_is_imported_on_request_alone():
    assert not importing(["regattn"], "regattn.huggingface")


def test_without_transformers_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "regattn.huggingface", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'regattn\[transformers\]'"):
        importlib.import_module("regattn.huggingface")


def test_kernels_know_nothing_of_the_library_above_them():
    inside = importing(["regattn/kernels"], "regattn")
    assert not [line for line in inside if not within(line.split(": ")[1], ["regattn.kernels"])]


def test_attention_knows_no_mapping_but_by_its_name():
    known = "regattn/_attention.py: regattn._registry.as_module"
    assert [*importing(["regattn/_attention"], "regattn")] == [known]


def test_foundations_know_nothing_above_them():
    foundations = ("_autograd", "_checks", "_registry", "_certify")
    above = ["_softmax", "_sparsemax", "_fusedmax", "_oscarmax", "_pnormmax", "_prox"]
    assert not importing([f"regattn/{f}" for f in foundations], *(f"regattn.{module}" for module in above))


def test_tasks_know_neither_scripts_nor_hydra():
    assert not importing(["tasks"], "scripts", "hydra", "omegaconf")


def test_threads_of_commands_sleep_while_they_wait():
    """Told before torch loads OpenMP, which reads it once."""
    code = "import sys; sys.argv[:] = ['-m']; import scripts; assert 'torch' not in sys.modules"
    code += "; import os; print(os.environ['OMP_WAIT_POLICY'])"
    for own, wanted in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | own
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == wanted


def test_commands_begin_without_what_only_some_of_them_need():
    """Half of the seconds between a command and its first word would be theirs."""
    needless = ("matplotlib", "fontTools", "nltk", "rouge_score", "sacremoses", "scipy.stats", "joblib")
    commands = ", ".join(f"scripts.{name}" for name in ("train", "evaluate", "predict", "generate", "tables"))
    code = f"import sys, {commands}, scripts.sweep, scripts.tune, scripts.reproduce; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True)
    assert [name for name in done.stdout.decode().split() if within(name, needless)] == []


def test_nothing_imports_tests():
    assert not importing(["regattn", "tasks", "scripts"], "tests", "pytest")


def test_scan_sees_every_form_of_import():
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\ndef h():\n    import i"
    assert set(imported(ast.parse(text), "p.q")) == {"a.b", "c.d", "p.q.e", "p.f.g", "i"}


def test_scan_names_file_and_import():
    assert "tests/test_exhaustive.py: tests.exhaustive" in importing(["tests"], "tests")
