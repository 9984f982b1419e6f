"""Machine code on disk: used again, but not after an edit of anything that it was made of."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from regattn.kernels.cpu import compiling

FOLDER = Path(compiling.__file__).parent
FILES = sorted(file.name for file in FOLDER.glob("*.py"))


@pytest.fixture
def compile_anew(tmp_path, monkeypatch) -> Any:
    file = tmp_path / "doubling.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    spec = importlib.util.spec_from_file_location("doubling", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "doubling", module)  # numba looks it up by its name
    spec.loader.exec_module(module)

    def compile_anew() -> bool:
        """Whether machine code was found on disk."""
        double = compiling.kernel(module.double)
        assert double(3) == 6
        return bool(double.stats.cache_hits)

    return compile_anew


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
