"""Imports run one way, scripts → tasks → regattn → torch."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STANDARD = sys.stdlib_module_names


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of everything that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imported(ast.parse(path.read_text(encoding="utf-8")), package))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def each(*folders: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sources(*folders), ids=lambda p: str(p.relative_to(ROOT)))


@each("regattn")
def test_the_library_needs_torch_numpy_and_numba_alone(path):
    allowed = (
        "regattn",
        "torch",
        "numpy",
        "numba",
        *(["llvmlite"] if path.name in ("vectors.py", "parallel.py") else []),  # numba's own
        *(["transformers"] if path.name == "huggingface.py" else []),
        *(["triton"] if path.name == "cuda.py" or path.name.startswith("triton_") else []),
        *STANDARD,
    )
    assert [name for name in imports_of(path) if not within(name, *allowed)] == []


@each("regattn")
def test_transformers_is_imported_on_request_alone(path):
    assert [name for name in imports_of(path) if within(name, "regattn.huggingface")] == []


def test_without_transformers_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "regattn.huggingface", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'regattn\[transformers\]'"):
        importlib.import_module("regattn.huggingface")


@each("regattn/kernels")
def test_kernels_know_nothing_of_the_library_above_them(path):
    inside = [name for name in imports_of(path) if within(name, "regattn")]
    assert [name for name in inside if not within(name, "regattn.kernels")] == []


@pytest.mark.parametrize("name", ["_attention", "_scorers"])
def test_attention_knows_no_mapping(name):
    assert [name for name in imports_of(ROOT / "regattn" / f"{name}.py") if within(name, "regattn")] == []


@pytest.mark.parametrize("name", ["_checks", "_operators", "_partition", "_mapping"])
def test_foundations_know_nothing_above_them(name):
    above = (
        "_softmax",
        "_sparsemax",
        "_fusedmax",
        "_oscarmax",
        "_pnormmax",
        "_simplex",
        "_prox_tv",
        "_prox_oscar",
    )
    imports = imports_of(ROOT / "regattn" / f"{name}.py")
    assert [i for i in imports if within(i, *(f"regattn.{module}" for module in above))] == []


@each("tasks")
def test_tasks_know_neither_scripts_nor_hydra(path):
    assert [name for name in imports_of(path) if within(name, "scripts", "hydra", "omegaconf")] == []


def test_commands_begin_without_what_only_some_of_them_need():
    """Half of the seconds between a command and its first word would be theirs."""
    needless = ("matplotlib", "fontTools", "nltk", "rouge_score", "sacremoses", "scipy.stats", "joblib")
    commands = ", ".join(f"scripts.{name}" for name in ("train", "evaluate", "predict", "generate", "tables"))
    code = f"import sys, {commands}, scripts.sweep, scripts.tune, scripts.reproduce; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True)
    assert [name for name in done.stdout.decode().split() if within(name, *needless)] == []


@each("regattn", "tasks", "scripts")
def test_nothing_imports_tests(path):
    assert [name for name in imports_of(path) if within(name, "tests", "pytest")] == []


def test_the_scan_sees_every_form_of_import():
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\ndef h():\n    import i"
    assert set(imported(ast.parse(text), "p.q")) == {"a.b", "c.d", "p.q.e", "p.f.g", "i"}
