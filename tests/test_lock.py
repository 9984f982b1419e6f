"""The locked requirements: what constraints.txt pins, each with checksums, from nowhere in particular."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "locked.txt"
FREE = {"torch", "triton"}  # their CPU and CUDA builds differ: pinned by version, or by torch itself


def name_of(requirement: str) -> str:
    """The name of a package as every index writes it."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pins(text: str) -> dict[str, str]:
    """Versions by name; what comes after a version (markers, checksums) is left out."""
    lines = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith(("#", "--"))]
    return {name_of(line): re.split(r"[ ;\\]", line.partition("==")[2])[0] for line in lines}


def test_every_package_is_locked_at_the_tested_version() -> None:
    locked, tested = pins(LOCK.read_text()), pins((ROOT / "constraints.txt").read_text())
    assert locked and not FREE & locked.keys()
    assert (
        locked.items() - {("setuptools", locked["setuptools"])}
    ) <= tested.items()  # it builds, and is not of the freeze


def test_every_package_of_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = ("suite", "transformers", "triton", "wandb", "tensorboard", "dev")
    asked = [*project["dependencies"], *(one for group in groups for one in extras[group])]
    wanted = {name_of(one) for one in asked} - FREE - {project["name"]}
    assert wanted <= pins(LOCK.read_text()).keys()


def test_every_locked_package_has_checksums_and_no_host() -> None:
    text = LOCK.read_text()
    for part in re.split(r"\n(?=[A-Za-z0-9])", text.partition("\n\n")[2].strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", part), part
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text
