"""The console command: ``regattn precompile``, and in a clone what the suite has, as ``regattn train``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import regattn
from regattn import precompile

_ROOT = Path(__file__).resolve().parents[1]
_USAGE = """usage: regattn COMMAND …

  precompile [MAPPING …]   compile the CPU kernels now, not at their first call
  --version                print the version
"""


def suite_commands(root: Path) -> list[str]:
    """The commands of the suite beside the package: none where the package is installed without the clone."""
    if not (root / "configs" / "train.yaml").is_file():  # others, too, install a folder called scripts
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
        return precompile.main(rest)
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


def _elsewhere(what: str) -> str:
    return f"{what} must be run from a clone of the repository, installed by pip install -e '.[suite]'"


if __name__ == "__main__":
    sys.exit(main())
