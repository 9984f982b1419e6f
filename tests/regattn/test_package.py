"""What the package says of itself: its version, its types, what it needs of others."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numba
import pytest
from packaging.requirements import Requirement

import regattn
from regattn.__main__ import main as command

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
torch._C: _AutoDispatchBelowAutograd _after_autograd_keyset _are_functorch_transforms_active
torch._C: _get_tracing_state _len_torch_dispatch_stack
torch._C._functorch: is_legacy_batchedtensor
torch._functorch.utils: enable_single_level_autograd_function
torch.autograd.forward_ad: _current_level _set_fwd_grad_enabled
"""


@pytest.mark.parametrize("line", PRIVATE.split("\n")[1:-1])
def test_private_names_of_numba_and_torch_are_there(line):
    place, names = line.split(": ")
    found, package = pkgutil.resolve_name(place), place.split(".")[0]
    moved = [f"{place}.{name}" for name in names.split() if not hasattr(found, name)]
    assert not moved, f"{package} {metadata.version(package)} has no {', '.join(moved)}"


def test_the_installed_numba_is_within_the_declared_bounds():
    (wanted,) = [Requirement(d) for d in PROJECT["project"]["dependencies"] if d.startswith("numba")]
    assert len(wanted.specifier) == 2 and numba.__version__ in wanted.specifier


def run(*words: str | Path, **options: Any) -> str:
    """What a command prints; what it says elsewhere is shown if it fails."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A source distribution of what is in the repository, and the wheel that is made of it alone."""
    for name in ("pip", "setuptools"):  # imported here, it would put its own copies of packages before ours
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    tree, dist = (tmp_path_factory.mktemp(name) for name in ("tree", "dist"))
    for name in ("regattn", "tasks", "scripts", "tests", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(dist)!r})"
    run(sys.executable, "-c", build, cwd=tree)
    (source,) = dist.iterdir()
    wheel = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", dist, source]
    run(sys.executable, "-m", "pip", *wheel)
    (wheel_file,) = dist.glob("*.whl")
    return source, wheel_file


def test_the_wheel_holds_the_library_alone_and_whole(built):
    source, wheel = built
    folders = ("regattn/", f"regattn-{regattn.__version__}.dist-info/")
    here = {
        p.relative_to(ROOT).as_posix() for p in (ROOT / "regattn").rglob("*") if p.suffix in (".py", ".typed")
    }
    names = set(ZipFile(wheel).namelist())
    assert all(name.startswith(folders) for name in names)
    assert here == {name for name in names if name.startswith(folders[0])}
    with tarfile.open(source) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert here < sources and not [name for name in sources if name.startswith(("tests", "tasks", "scripts"))]


INSTALLED = """
import doctest, importlib.metadata as metadata, pathlib, sys, torch, regattn
assert pathlib.Path(sys.argv[1]) in pathlib.Path(regattn.__file__).parents, regattn.__file__
assert metadata.version("regattn") == regattn.__version__
readme = doctest.testfile(sys.argv[2], module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
print(readme.failed, "of", readme.attempted)
regattn.plot(torch.eye(2), ["a", "b"], ["c", "d"]).savefig("first.png")
(console,) = metadata.entry_points(group="console_scripts", name="regattn")
sys.exit(console.load()(["train"]))
"""


def check_installed(python: Path | str, site: Path, folder: Path, path: str = "") -> None:
    """What was installed runs the README's examples and draws; its command says what needs a clone."""
    pytest.importorskip("matplotlib", reason="the README installs regattn[plot]")
    environment = {**os.environ, "PYTHONPATH": path}
    (folder / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    words = [*map(str, [python, "-c", INSTALLED, site, "README.md"])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.stdout == "0 of 5\n", done.stdout + done.stderr
    assert (folder / "first.png").read_bytes().startswith(b"\x89PNG")
    assert done.returncode == 2 and "'train' must be run from a clone" in done.stderr


def test_the_installed_wheel_works_away_from_the_repository(built, tmp_path):
    site = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--target", site]
    run(sys.executable, "-m", "pip", "install", *options, built[1])
    check_installed(sys.executable, site, tmp_path, path=str(site))


def test_the_wheel_installs_into_an_empty_environment(built, tmp_path, pytestconfig):
    if pytestconfig.getoption("--exhaustive") is None:
        pytest.skip("torch takes gigabytes and minutes: pytest --exhaustive installs it")
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{built[1]}[plot]"]
    done = subprocess.run([*map(str, install)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the index gives no packages: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    check_installed(python, place, tmp_path)


def test_it_is_imported_where_the_system_is_not_posix():
    lacking = ("register_at_fork", "sched_getaffinity", "fork", "getuid")
    missing = f"for name in {lacking}: vars(os).pop(name, None)"
    run(sys.executable, "-c", f"import os, torch, numba\n{missing}\nimport regattn", cwd=ROOT)


@pytest.mark.skipif(os.name != "posix", reason="the release is built on Linux")
def test_the_release_leads_its_page_to_its_own_repository(tmp_path):
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    (step,) = [s["run"] for s in jobs["build"]["steps"] if "GITHUB_REPOSITORY" in s.get("run", "")]
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    github = {"SERVER_URL": "https://github.com", "REPOSITORY": "us/attn", "REPOSITORY_OWNER": "us"}
    known = {f"GITHUB_{name}": value for name, value in {**github, "REF_NAME": "v1.2.3"}.items()}
    run("bash", "-e", "-c", step, cwd=tmp_path, env={**os.environ, **known})
    links = [re.findall(r"\]\(([^)\s]+)\)", (at / "README.md").read_text("utf-8")) for at in (ROOT, tmp_path)]
    assert len(links[0]) > 20
    for before, after in zip(*links, strict=True):
        kind = "raw" if before.endswith(".png") else "blob"
        assert after == (before if "://" in before else f"https://github.com/us/attn/{kind}/v1.2.3/{before}")
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert urls == {
        **PROJECT["project"]["urls"],
        "Repository": "https://github.com/us/attn",
        "Documentation": "https://us.github.io/attn/",
        "Changelog": "https://github.com/us/attn/blob/v1.2.3/CHANGELOG.md",
    }


def test_the_pythons_declared_are_those_that_are_tested():
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    prefix = "Programming Language :: Python :: "
    declared = [c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"] if c.startswith(prefix)]
    assert jobs["library"]["strategy"]["matrix"]["python"] == declared
    assert PROJECT["project"]["requires-python"] == f">={declared[0]}"


def test_the_suite_s_commands_are_those_of_the_clone(capsys, tmp_path, monkeypatch):
    for words in ([], ["--help"], ["precompile", "--help"]):
        assert command(words) == 0 and " train" in capsys.readouterr().out
    assert command(["precompile", "trian"]) == 2
    assert capsys.readouterr().err.startswith("regattn: mapping must be one of softmax, ")
    started: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda path, words: started.append(words))
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    for name in ("train", "bench"):
        assert command([name, "seed=3"]) == 2  # where execv returns, which it does not
        assert started.pop() == [sys.executable, "-m", f"scripts.{name}", "seed=3"]
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    capsys.readouterr()
    assert command(["trian"]) == 2
    assert "COMMAND must be one of precompile, " in capsys.readouterr().err
    assert command(["train"], root=tmp_path) == 2
    assert "'train' must be run from a clone" in capsys.readouterr().err


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
assert_type(regattn.SparsemaxLoss()(x, x), Tensor)
assert_type(regattn.__version__, str)
regattn.Fusedmax()(x, mask=3)
attend(x, x, x, mapping=3)
"""


def test_calls_have_types_under_strict_mypy(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
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


def test_every_module_declares_its_call_as_its_forward():
    """To pyright an assignment has the type that ``nn.Module`` declares for it, which returns Any."""
    found = 0
    for file in (ROOT / "regattn").glob("*.py"):
        for one in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)):
            functions = {f.name: f for f in ast.walk(one) if isinstance(f, ast.FunctionDef)}
            forward, call = functions.get("forward"), functions.get("__call__")
            if forward is None or forward.args.args[0].arg != "self":
                continue
            found += 1
            assert call is not None, f"{one.name} declares no __call__"
            assert ast.dump(call.args) == ast.dump(forward.args), one.name
            assert ast.unparse(call.returns or call) == ast.unparse(forward.returns or forward), one.name
    assert found >= 7
