"""The console command: ``regattn precompile``, and in a clone what the suite has, as ``regattn train``.

Where and how long the machine code of kernels is kept says :mod:`regattn.kernels.cpu.compiling`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import regattn
from regattn._registry import MAPPINGS, MappingSpec, named

_ROOT = Path(__file__).resolve().parents[1]
_USAGE = """usage: regattn COMMAND …

  precompile [MAPPING …]   compile the CPU kernels now, not at their first call
  --version                print the version
"""


def suite_commands(root: Path) -> list[str]:
    """The commands of the suite beside the package: none where the package is installed without the clone."""
    if not (
        root / "configs" / "train.yaml"
    ).is_file():  # others, too, install a folder that is called scripts
        return []
    scripts = {path.stem: path for path in (root / "scripts").glob("*.py")}
    scripts |= {path.parent.name: path for path in (root / "scripts").glob("*/__main__.py")}
    return sorted(
        name for name, path in scripts.items() if re.search(r"^if __name__ ==", path.read_text("utf-8"), re.M)
    )


def main(arguments: Sequence[str] | None = None, root: Path = _ROOT) -> int:
    """Run one command; return 2 and say in a sentence what is wrong with a command line that is none."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    commands = suite_commands(root)
    if command == "precompile" and not {"-h", "--help"} & {*rest}:
        return _precompile_all(rest)
    if command in ("-V", "--version"):
        print(regattn.__version__)
        return 0
    if command in ("-h", "--help", "precompile"):
        print(_USAGE)
        print(f"of the suite in {root}: {', '.join(commands)}" if commands else _elsewhere("the suite"))
        return 0
    if command in commands:
        # In a process of its own, that sets its threads before torch is loaded, as `python -m` does.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", f"scripts.{command}", *rest])
    known = ", ".join(["precompile", *commands])
    message = f"COMMAND must be one of {known}, got {command!r}" if commands else _elsewhere(repr(command))
    print(f"regattn: {message}", file=sys.stderr)
    return 2


_SHAPES = ((16_384, 8), (16, 8_200))  # enough for threads, forward and backward; structures of 16 and 32 bits


def precompile(spec: MappingSpec) -> float:
    """Compile all that calls of a mapping and their derivatives need, and return the seconds that it took."""
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(max(2, threads))  # the loop over rows in threads is compiled, too
    for dtype in (torch.float32, torch.float64):
        for shape in _SHAPES:
            scores = torch.zeros(shape, dtype=dtype, requires_grad=True)
            learnt = {}
            if spec.solver is not None and spec.solver.penalty_slope is not None:
                learnt["lam"] = torch.tensor(spec.defaults["lam"], requires_grad=True)
            spec.function(scores, **learnt).sum().backward()
    torch.set_num_threads(threads)
    return time.perf_counter() - start


def _precompile_all(names: list[str]) -> int:
    """Those of all mappings where none is named."""
    try:
        specs = [named(name) for name in names or MAPPINGS]
    except ValueError as error:
        print(f"regattn: {error}", file=sys.stderr)
        return 2
    for spec in specs:
        print(f"{spec.name}: {precompile(spec):.1f} s", flush=True)
    return 0


def _elsewhere(what: str) -> str:
    return f"{what} must be run from a clone of the repository, installed by pip install -e '.[suite]'"


if __name__ == "__main__":
    sys.exit(main())
