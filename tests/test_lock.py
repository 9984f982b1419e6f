"""The locked requirements: what constraints.txt pins and make installs, no less, no more, with checksums."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK, PEERS = ROOT / "requirements" / "locked.txt", ROOT / "requirements" / "peers.txt"
FREE = {"torch", "triton"}  # their CPU and CUDA builds differ: pinned by version, or by torch itself
PYTHONS = ("3.11", "3.12")
made_by_make = pytest.mark.skipif(
    not (Path(sys.prefix) == ROOT / ".venv" and Path(sys.prefix, "installed").is_file()),
    reason=f"wants the environment that make install makes in {ROOT / '.venv'}, got {sys.prefix}",
)


def entries(text: str) -> list[str]:
    """What a file of requirements says of each package: its pin and its checksums."""
    return re.findall(r"^[A-Za-z0-9].*(?:\n +.*)*", text, re.MULTILINE)


def pins(text: str) -> dict[str, str]:
    """Versions by name, as every index writes it."""
    found = [re.split("==| ", entry.partition("\n")[0]) for entry in entries(text)]
    return {canonicalize_name(name): version for name, version, *_ in found}


def unverified(text: str) -> list[str]:
    """Entries that are more or less than a version and SHA-256 checksums."""
    whole = r"[\w.-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+"
    return [entry for entry in entries(text) if not re.fullmatch(whole, entry)]


def drift(pinned: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Packages that are installed here at another version than this, or not: wanted and got."""
    installed = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
    found = {name: (version, installed.get(name, "none")) for name, version in pinned.items()}
    return {name: (wanted, got) for name, (wanted, got) in found.items() if wanted != got}


def needed(asked: Iterable[str], python: str) -> set[str]:
    """Names of all that these requirements bring, as the installed packages say for this Python."""
    found: set[tuple[str, str]] = set()
    ahead = [(Requirement(one), "") for one in asked]
    while ahead:
        one, of = ahead.pop()
        name = canonicalize_name(one.name)
        if one.marker and not one.marker.evaluate({"extra": of, "python_version": python}):
            continue
        extras = {(name, extra) for extra in ("", *one.extras)} - found
        found |= extras
        ahead += [(Requirement(each), extra) for _, extra in extras for each in metadata.requires(name) or ()]
    return {name for name, _ in found}


@pytest.mark.parametrize("path", [LOCK, PEERS], ids=lambda path: path.name)
def test_every_entry_is_a_version_with_checksums_and_names_no_host(path: Path) -> None:
    text = path.read_text()
    assert entries(text) and not unverified(text)
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r" \\\n    --hash=.*", ""),  # no checksum
        ("sha256:", "md5:"),
        ("[0-9a-f]{64}", "0" * 63),
        (r"==1\.0", ">=1.0"),
        (r"==1\.0", "==1.*"),
        (r"==1\.0", " @ file:///a.whl"),
        ("==1.0 ", "==1.0 ; python_version > '3.11' "),  # one lock for every Python
    ],
)
def test_an_entry_that_verifies_nothing_is_noticed(right: str, wrong: str) -> None:
    entry = f"a-b.c==1.0 \\\n    --hash=sha256:{'0' * 64}"
    bad = re.sub(right, wrong, entry, flags=re.DOTALL)
    assert not unverified(entry) and unverified(f"{entry}\n{bad}\n") == [bad]


def test_what_is_locked_is_what_was_tested_and_all_of_it() -> None:
    locked, peers, tested = (pins(path.read_text()) for path in (LOCK, PEERS, ROOT / "constraints.txt"))
    assert not locked.keys() & peers.keys()
    assert {**locked, **peers, "torch": tested["torch"]} == tested


@made_by_make
def test_what_is_installed_is_what_is_locked() -> None:
    assert drift(pins(LOCK.read_text())) == {}
    torch = pins((ROOT / "constraints.txt").read_text())["torch"]
    assert metadata.version("torch").partition("+")[0] == torch


def test_another_version_and_a_missing_package_are_noticed() -> None:
    here = metadata.version("numpy")
    assert drift({"numpy": here}) == {}
    assert drift({"numpy": "0.1", "no-such": "1"}) == {"numpy": ("0.1", here), "no-such": ("1", "none")}


@made_by_make
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_all_that_the_project_needs_and_nothing_else(python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = ("suite", "transformers", "triton", "wandb", "tensorboard", "dev")
    asked = [*project["dependencies"], *(one for group in groups for one in extras[group])]
    got = needed([one for one in asked if not one.startswith(f"{project['name']}[")], python)
    of_cuda = {name for name in got if name.startswith(("cuda-", "nvidia-"))}
    assert got - FREE - of_cuda == pins(LOCK.read_text()).keys()


def test_make_installs_nothing_but_torch_and_triton_without_checksums() -> None:
    command = ["make", "--dry-run", "--always-make", "install", "TORCH_INDEX="]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if " pip install " in line]
    free = [line for line in lines if "--require-hashes" not in line]
    assert [line.split()[-1].rpartition("=")[0] or line.split()[-1] for line in free] == [
        "torch=",
        "'.[triton]'",
    ]
    assert len(lines) == 4 and all("--no-deps" in line for line in lines if line not in free)
    assert all("-c constraints.txt" in line for line in free)
