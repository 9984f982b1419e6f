"""What the package says of itself: its version, its types, what it needs of others."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numba
import pytest
from packaging.requirements import Requirement

import regattn

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_written_once():
    assert PROJECT["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "regattn.__version__"}}
    assert f"version: {regattn.__version__}\n" in (ROOT / "CITATION.cff").read_text()


PRIVATE = """
numba.core.base.BaseContext: add_linking_libs call_internal_no_propagate get_abi_sizeof get_data_type
numba.core.base.BaseContext: get_dummy_value get_value_type make_array refresh
numba.core.callconv.CPUCallConv: call_function get_function_type
numba.core.cgutils: alloca_once_value get_or_insert_function pack_struct unpack_tuple
numba.core.codegen.JITCPUCodegen: magic_tuple
numba.core.codegen.JITCodeLibrary: codegen get_pointer_to_function
numba.core.compiler.CompileResult: _rebuild _reduce
numba.core.cpu.CPUContext: codegen
numba.core.dispatcher.Dispatcher: compile get_compile_result stats
numba.core.errors: TypingError
numba.core.funcdesc.FunctionDescriptor: llvm_func_name
numba.core.options.DefaultOptions: _nrt fastmath forceinline nogil
numba.core.options.DefaultOptions: error_model no_cfunc_wrapper no_cpython_wrapper
numba.core.serialize: dumps loads
numba.core.types.Dispatcher: get_call_type
numba.misc.appdirs: user_cache_dir
"""


@pytest.mark.parametrize("line", PRIVATE.split("\n")[1:-1])
def test_what_the_kernels_use_of_numba_is_there(line):
    place, names = line.split(": ")
    found = pkgutil.resolve_name(place)
    moved = [f"{place}.{name}" for name in names.split() if not hasattr(found, name)]
    assert not moved, f"numba {numba.__version__} has no more {', '.join(moved)}"


def test_the_installed_numba_is_within_the_declared_bounds():
    (wanted,) = [Requirement(d) for d in PROJECT["project"]["dependencies"] if d.startswith("numba")]
    assert len(wanted.specifier) == 2 and numba.__version__ in wanted.specifier


CALLS = """
from typing import assert_type

import torch
from torch import Tensor

import regattn

x, mask = torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool)
assert_type(regattn.fusedmax(x, lam=0.2, mask=mask), Tensor)
assert_type(regattn.Fusedmax(lam=0.2)(x, mask), Tensor)
assert_type(regattn.DotScorer()(x, x), Tensor)
assert_type(regattn.Attention(regattn.DotScorer(), "fusedmax")(x, x), tuple[Tensor, Tensor])
assert_type(regattn.MultiheadAttention(4, 2, mapping="fusedmax")(x, x, x), tuple[Tensor, Tensor | None])
attend = regattn.scaled_dot_product_attention
assert_type(attend(x, x, x, mapping=regattn.fusedmax, lam=0.2), Tensor)
assert_type(attend(x, x, x, mask, need_weights=True), tuple[Tensor, Tensor])
assert_type(regattn.__version__, str)
regattn.Fusedmax()(x, mask=3)
attend(x, x, x, mapping=3)
"""


def test_calls_have_types_under_strict_mypy(tmp_path):
    assert (ROOT / "regattn" / "py.typed").is_file()
    (tmp_path / "calls.py").write_text(CALLS)
    # What mypy makes of torch is kept beside the project's own: by itself it takes a minute.
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--ignore-missing-imports", "calls.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "strict")},
        capture_output=True,
        text=True,
    )
    errors = [line for line in found.stdout.splitlines() if re.match(r"calls.py:\d+: error", line)]
    assert len(errors) == 2, found.stdout + found.stderr
    assert "[arg-type]" in errors[0] and "[call-overload]" in errors[1]
