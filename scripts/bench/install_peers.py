"""Install what the benchmark compares with, one by one: `make bench-peers`.

One by one because some have to be compiled, and one that cannot be must not keep out the others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import torch

_ROOT = Path(__file__).resolve().parents[2]
_NEEDS = {
    "prox_tv": "it is compiled against LAPACK: on Debian, apt-get install liblapacke-dev libopenblas-dev",
    "torchsort": "it is compiled against the torch that is installed, and needs a C++ compiler",
}


def requirements() -> list[str]:
    """The extra `bench` of pyproject.toml."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"]["bench"])


def install(requirement: str) -> str | None:
    """Install one package, and return None or why it did not work."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["-c", str(_ROOT / "constraints.txt")]
    if requirement.startswith("torchsort"):
        command.append("--no-build-isolation")  # its build imports torch
    done = subprocess.run(
        [*command, requirement], capture_output=True, text=True, env=_environment(), check=False
    )
    return reason(done.stdout + done.stderr) if done.returncode else None


def reason(output: str) -> str:
    """The line of a failed build that says the most.

    Example:
        >>> reason("cc -c a.c\\na.c:1: fatal error: lapacke.h: No such file\\nerror: exit 1")
        'fatal error: lapacke.h: No such file'
    """
    for pattern in (r"fatal error: .*", r"\w*Error: .*", r"(?i)error: .*"):
        if found := re.findall(pattern, output):
            return found[-1].strip()
    return "pip failed without a word"


def _environment() -> dict[str, str]:
    """Without nvcc where torch has no CUDA: torchsort would build for it, and find no CUDA to build with."""
    environment = dict(os.environ)
    while torch.version.cuda is None and (nvcc := shutil.which("nvcc", path=environment.get("PATH"))):
        folders = environment["PATH"].split(os.pathsep)
        environment["PATH"] = os.pathsep.join(f for f in folders if Path(f) != Path(nvcc).parent)
    return environment


def main() -> None:
    """Try each, say how it went, and never fail."""
    for requirement in requirements():
        name = re.split(r"[<>=!~ ]", requirement)[0]
        print(f"{name} … ", end="", flush=True)
        if (why := install(requirement)) is None:
            print("installed")
        else:
            print(f"did not install: {why}{f' ({_NEEDS[name]})' if name in _NEEDS else ''}")


if __name__ == "__main__":
    main()
