"""One run in a process of its own, forked from one that has done the imports already."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from scripts import cli
from scripts.children import end_with_parent
from scripts.style import check_drawing
from scripts.train import start
from tasks.training.run_directory import RunInUseError
from tasks.training.signals import STOPPING

_PATIENCE = 2.0  # seconds before another try to enter a run that is in use


def preload() -> None:
    """Import what a run would import as it goes, so that forks of this process need not."""
    check_drawing()
    importlib.import_module("torch._dynamo")  # an optimizer imports it
    importlib.import_module("matplotlib.backends.backend_agg")  # a picture does


def train_in_child(overrides: Sequence[str], log: Path, threads: int, parent: int) -> None:
    """Train what the overrides say, as `make train` does, and exit as it does.

    A run that is in use, as by a process that is about to save and end, is waited for.

    Args:
        overrides: as of `make train`.
        log: file that all output is added to.
        threads: CPU threads of torch, unless the config says otherwise.
        parent: id of the process that wants it; when that one ends, this one saves and ends too.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which asks its children to save
    end_with_parent(parent)
    _write_to(log)
    torch.set_num_threads(threads)
    cli.main(partial(_start_when_free, overrides))


def _write_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))


def _start_when_free(overrides: Sequence[str]) -> None:
    while True:
        try:
            return start(overrides)
        except RunInUseError as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(_PATIENCE)
