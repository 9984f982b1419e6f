"""Where a number comes from: the hash of its config, the id of its run, versions and commit."""

import copy
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from operator import eq
from pathlib import Path
from platform import python_version
from typing import Any

NOT_HASHED = (
    "command",
    "data.root",
    "data.sha256",
    "data.stream",
    "logger",
    "optim._target_",
    "output_dir",
    "progress",
    "results_dir",
    "task.vectors",
    "trainer.device",
)
"""Keys of a config that say where, on what and with which display a run is made, never what it computes.

Files are among them: what they hold is hashed instead of where they lie. The class of the optimizer is one
too, because its other keys tell it, and runs from before it could be chosen do not name it."""

NOT_HASHED_AT: dict[str, object] = {
    "attention.learn": [],
    "data.revision": None,
    "task.letters": "ascii",
    "task.model": "recurrent",
    "task.model.scorer_init_range": None,
    "task.until_unknown": False,
    "trainer.anneal_gamma": None,
    "trainer.dev_items": None,
    "trainer.keep": "best",
    "trainer.precision": "float32",
    "trainer.test_items": None,
}
"""Keys that earlier runs lack, and the value that they had: with it a run is the same and keeps its id."""

SEEDS = ("seed", "trainer.seed")
"""Keys that tell the runs of one setting apart."""

SPEED = ("trainer.threads", "trainer.checkpoint_every")
"""Keys that say how fast a run goes: its times depend on them, its figures but for rounding do not."""

_PACKAGES = ("torch", "numpy", "numba", "safetensors")
_ROOT = Path(__file__).resolve().parents[2]


def available_cores() -> int:
    """How many cores of the machine this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def config_hash(config: Mapping[str, Any], *, without: Sequence[str] = ()) -> str:
    """Return the SHA-256 of ``config`` as canonical JSON, without the keys in :data:`NOT_HASHED`,
    and without those in :data:`NOT_HASHED_AT` that have the value there.

    Two configs with the same hash describe the same run: it is continued, or its record stands for both.
    Further keys and sections, dotted, are left out where not a run is asked for but its like.

    Raises:
        TypeError: a value is not plain JSON.
        ValueError: a number is not finite.

    Example:
        >>> config_hash({"seed": 1, "logger": "wandb"}) == config_hash({"seed": 1})
        True
    """
    hashed = copy.deepcopy(dict(config))
    for dotted in (*NOT_HASHED, *without):
        _drop(hashed, dotted, lambda value: True)
    for dotted, earlier in NOT_HASHED_AT.items():
        _drop(hashed, dotted, partial(eq, earlier))
    canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _drop(config: dict[str, Any], dotted: str, is_dropped: Callable[[Any], bool]) -> None:
    *sections, key = dotted.split(".")
    holder: Any = config
    for section in sections:
        holder = holder.get(section) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and key in holder and is_dropped(holder[key]):
        del holder[key]


def run_id(task: str, mapping: str, corpus_name: str, seed: int, config_hash: str) -> str:
    """Return the name of a run, usable as a file name: what it is for the eye, a hash for the rest.

    Example:
        >>> run_id("snli", "fusedmax", "mini", 1, config_hash({"seed": 1}))
        'snli-fusedmax-mini-s1-fbe47f6d'
    """
    return "-".join([*map(file_word, (task, mapping, corpus_name)), f"s{seed}", config_hash[:8]])


def file_word(text: str) -> str:
    """A text as a part of the name of a file.

    Example:
        >>> file_word("stanfordnlp/snli")
        'stanfordnlp_snli'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    found = {"python": python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(root: Path = _ROOT) -> str:
    """Return the commit checked out in ``root``, ``-dirty`` where a file differs, or ``unknown``.

    Files under ``results`` do not count: a run's own record would make the next run dirty.
    """
    try:
        head = _git(root, "rev-parse", "--verify", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changes else head


def _git(root: Path, *arguments: str) -> str:
    # Without the lock under which status notes what it found: killed, it would leave that in everybody's way.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
