"""Install what the benchmark compares with, one by one: `make bench-peers`.

One by one because some have to be compiled, and one that cannot be must not keep out the others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from scripts import end_imports

_LOCK = Path(__file__).resolve().parents[2] / "requirements" / "peers.txt"
_NEEDS = {
    "prox-tv": "it is compiled against LAPACK: on Debian, apt-get install liblapacke-dev libopenblas-dev",
    "torchsort": "it is compiled against the torch that is installed, and needs a C++ compiler",
}


def requirements() -> list[str]:
    """The entries of requirements/peers.txt, pins with checksums; those that are compiled come last."""
    text = _LOCK.read_text(encoding="utf-8")
    entries = re.findall(r"^[A-Za-z0-9].*(?:\n +.*)*", text, re.MULTILINE)
    return sorted(entries, key=lambda entry: _name(entry) in _NEEDS)


def install(requirement: str) -> bool:
    """Install one package, and return whether that worked; pip says why where it did not."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Builds import what is installed: torchsort torch, both of them setuptools.
    command += ["--require-hashes", "--no-deps", "--no-build-isolation", "-r", "/dev/stdin"]
    return not subprocess.run(command, input=requirement, text=True, env=_environment()).returncode


def _environment() -> dict[str, str]:
    """Without nvcc where torch has no CUDA: torchsort would build for it, and find no CUDA to build with."""
    environment = dict(os.environ)
    while torch.version.cuda is None and (nvcc := shutil.which("nvcc", path=environment.get("PATH"))):
        folders = environment["PATH"].split(os.pathsep)
        environment["PATH"] = os.pathsep.join(f for f in folders if Path(f) != Path(nvcc).parent)
    return environment


def _name(requirement: str) -> str:
    return requirement.partition("==")[0]


def main() -> None:
    """Try each, say how it went, and never fail."""
    for requirement in requirements():
        name = _name(requirement)
        is_installed = install(requirement)
        print(f"{name} is installed" if is_installed else f"{name} did not install: {_NEEDS.get(name, '')}")


if __name__ == "__main__":
    end_imports()
    main()
