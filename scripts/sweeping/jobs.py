"""One job of a sweep: a training in a process of its own, begun again where it was only interrupted.

Not in the launcher's process, because there a signal, an exit status, a lack of memory or what an earlier job
has left behind would meet the other jobs too. The job is what `make train` would have done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from scripts.children import STOPPED, end_with_parent, last_line
from tasks.training.signals import Preempted

RESTARTS = 20
_IN_USE = "is in use by"  # as RunDirectory says it: another job, perhaps one that is just saving, has the run
_PAUSE = 5.0


def run_job(config: DictConfig) -> str:
    """Train what the overrides of Hydra's current job say: the task function of every launcher.

    Returns:
        Why the run is not finished, in one sentence, or nothing.
    """
    hydra = HydraConfig.get()
    log = Path(hydra.runtime.cwd) / hydra.runtime.output_dir / "train.log"
    why = run_train(list(hydra.overrides.task), log, Path(hydra.runtime.cwd))
    print(f"{log.parent.name}: {why or 'finished'}", flush=True)
    return why


def run_train(overrides: Sequence[str], log: Path, folder: Path = Path()) -> str:
    """Run scripts.train in ``folder`` until it is finished or has failed; what it prints goes to ``log``.

    Stopped by a signal (exit status 75) it is begun again, and continues from its checkpoint. Where another
    process is in the run, as of the same sweep begun twice, it waits for that to end.

    Returns:
        Why the run is not finished, in one sentence, or nothing.
    """
    restarts = 0
    while True:
        begun = log.stat().st_size if log.exists() else 0
        status = _run_once(overrides, log, folder)
        if status == 0:
            return ""
        if _is_in_use(log, begun):
            time.sleep(_PAUSE)
            continue
        restarts += 1
        if status not in STOPPED or restarts == RESTARTS:
            return f"exit status {status}: {last_line(log)}"


def _is_in_use(log: Path, begun: int) -> bool:
    """Whether the run was refused, by what its log says since; the one that has it may write there too."""
    with log.open("rb") as file:
        file.seek(begun)
        return any(line.startswith(b"error: ") and _IN_USE.encode() in line for line in file)


def _run_once(overrides: Sequence[str], log: Path, folder: Path) -> int:
    command = [sys.executable, "-m", "scripts.train", *overrides]
    launcher = os.getppid()
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
    try:
        while child.poll() is None and os.getppid() == launcher:
            _wait(child)
    finally:
        # Ctrl-C, a cluster's signal, or the launcher is gone: the training saves and ends.
        if child.poll() is None:
            child.terminate()
            child.wait()
    if os.getppid() != launcher:
        os._exit(Preempted.exit_code)  # else a worker whose sweep was killed would go on to its next job
    return child.returncode


def _wait(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return
