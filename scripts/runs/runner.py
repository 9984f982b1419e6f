"""Trainings of a sweep, each in a process of its own: beside each other here, or by one of Hydra's launchers.

Not in the launcher's process, because there a signal, an exit status, a lack of memory or what an earlier
training has left behind would meet the others too. Such a process is what `make train` would have done, but
that it ends with the one that started it, and waits where another one is in the run, as of the same sweep
begun twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import CONFIGS, register_schemas
from scripts.runs.training import prepare, train
from tasks.data.files import open_descriptor
from tasks.training.callbacks import format_duration
from tasks.training.provenance import available_cores
from tasks.training.run_directory import RunInUseError
from tasks.training.signals import STOPPING, Preempted, die_with_parent

LAUNCHERS = {
    "basic": None,
    "joblib": "hydra.launcher.n_jobs",
    "submitit_local": None,
    "submitit_slurm": "hydra.launcher.array_parallelism",
}
"""``basic``, which is this process, and Hydra's, with the key that says how many jobs run at once."""

RESTARTS = 20
_PAUSE = 2.0  # seconds before another try to enter a run that is in use
_STOPPED = (Preempted.exit_code, *(-number for number in STOPPING))  # once it could say so, or before
_HERE = ("basic", "joblib", "submitit_local")  # several jobs share this machine's cores
_ROOT = CONFIGS.parent


@dataclass(frozen=True)
class Job:
    """One training."""

    name: str  # of its folder, which gets its log
    overrides: tuple[str, ...]

    def log_in(self, folder: Path) -> Path:
        """Where what it prints goes to."""
        return folder / self.name / "train.log"


def launch(
    jobs: Sequence[Job], launcher: str, at_once: int, folder: Path, of_hydra: Sequence[str] = ()
) -> list[str]:
    """Train ``jobs`` in this order and wait for them all; one that fails leaves the others running.

    Hydra's own sweeper would launch finished jobs too, and after a failure say no more than the first one's.

    Args:
        jobs: of different names.
        launcher: a key of :data:`LAUNCHERS`, with overrides ``of_hydra`` for its own settings.
        at_once: how many jobs may run at the same time.
        folder: gets a folder for each job.

    Returns:
        For each job why it is not finished, or nothing.

    Raises:
        KeyboardInterrupt: a signal asked for a stop; the trainings of ``basic`` have saved and ended.
    """
    if not jobs:
        return []
    at_once = min(at_once, len(jobs))  # joblib makes that many processes, used or not
    _share_cores(launcher, at_once)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        worker = _launcher(launcher, at_once, folder, of_hydra)
        if launcher == "basic":
            return _run_here(jobs, at_once, folder)
        # submitit's local executor starts all that it gets at once.
        size = at_once if launcher == "submitit_local" else len(jobs)
        why: list[str] = []
        for first in range(0, len(jobs), size):
            named = [
                [*job.overrides, f"hydra.sweep.subdir='{job.name}'"] for job in jobs[first : first + size]
            ]
            why += [str(done.return_value) for done in worker.launch(named, initial_job_idx=first)]
        return why


def _share_cores(launcher: str, at_once: int) -> None:
    """Set what every job inherits; what is set already stays."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    if launcher in _HERE:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // at_once)))


def _run_here(jobs: Sequence[Job], at_once: int, folder: Path) -> list[str]:
    stop = threading.Event()
    pool = ThreadPoolExecutor(at_once)
    try:
        return list(pool.map(partial(_run, folder=folder, should_stop=stop.is_set), jobs))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _launcher(name: str, at_once: int, folder: Path, of_hydra: Sequence[str]) -> Launcher:
    own = (CONFIGS / "launcher" / f"{name}.yaml").exists()
    settings = [
        f"hydra/launcher={name}",
        *([f"launcher={name}"] if own else []),
        *([f"{LAUNCHERS[name]}={at_once}"] if LAUNCHERS[name] else []),
        f"hydra.sweep.dir='{folder}'",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        *of_hydra,
    ]
    register_schemas()
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        config = hydra.compose_config("train", settings, RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
        return Plugins.instance().instantiate_launcher(context, _run_hydras, config)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(f"the launcher cannot be used: {' '.join(str(error).split())}") from None


def _run_hydras(config: DictConfig) -> str:
    """Hydra's current job, in a worker of a launcher."""
    hydra, launcher = HydraConfig.get(), os.getppid()
    job = Job(hydra.sweep.subdir, tuple(hydra.overrides.task))
    folder = Path(hydra.runtime.cwd) / hydra.sweep.dir

    def is_orphan() -> bool:
        return os.getppid() != launcher

    why = _run(job, folder, is_orphan, Path(hydra.runtime.cwd))
    if is_orphan():
        os._exit(Preempted.exit_code)  # else a worker whose sweep was killed would go on to its next job
    return why


def _run(job: Job, folder: Path, should_stop: Callable[[], bool], cwd: Path | None = None) -> str:
    begun = time.monotonic()
    why = "" if should_stop() else run_until_done(job, job.log_in(folder), should_stop, cwd)
    print(f"{job.name}  {format_duration(time.monotonic() - begun)}  {why or 'finished'}", flush=True)
    return why


def run_until_done(job: Job, log: Path, should_stop: Callable[[], bool], cwd: Path | None = None) -> str:
    """Train a job until it is finished or has failed; return why it is not finished, or nothing.

    What it prints is added to ``log``. Stopped by a signal (exit status 75) it is begun again, and continues
    from its checkpoint, unless ``should_stop`` says that it is to save and end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(RESTARTS):
        status = _run_once(job, log, should_stop, cwd)
        if status == 0:
            return ""
        if status not in _STOPPED or should_stop():
            break
    return f"exit status {status}: {_last_line(log)}"


def _run_once(job: Job, log: Path, should_stop: Callable[[], bool], cwd: Path | None) -> int:
    command = [sys.executable, "-m", "scripts.runs.runner", str(os.getpid()), *job.overrides]
    with open(open_descriptor(log, os.O_RDWR | os.O_CREAT | os.O_APPEND), "ab") as file:
        child = subprocess.Popen(command, cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
    try:
        while child.poll() is None and not should_stop():
            try:
                child.wait(timeout=1)
            except subprocess.TimeoutExpired:
                continue
    finally:
        # Ctrl-C, a cluster's signal, or whoever launched this is gone: the training saves and ends.
        if child.poll() is None:
            child.terminate()
            child.wait()
    return child.returncode


def _last_line(log: Path) -> str:
    """What a process said last, or that it said nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def die_with_make() -> None:
    """Have this process end with make, where that is its parent: what is killed is often make alone."""
    if "MAKELEVEL" in os.environ:
        die_with_parent(os.getppid())


def _train_when_free(parent: int, overrides: Sequence[str]) -> None:
    die_with_parent(parent)
    setup = prepare(overrides)
    while True:
        try:
            return train(setup)
        except RunInUseError as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(_PAUSE)


if __name__ == "__main__":
    cli.main(lambda: _train_when_free(int(sys.argv[1]), sys.argv[2:]))
