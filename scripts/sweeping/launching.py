"""Jobs handed to one of Hydra's launchers: one after another, beside each other, or to a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf.errors import OmegaConfBaseException

from scripts.cli import CONFIGS, UsageError
from scripts.schema import register
from scripts.sweeping.grids import Choice, Grid
from scripts.sweeping.jobs import run_job

LAUNCHERS = {
    "basic": None,
    "joblib": "hydra.launcher.n_jobs",
    "submitit_local": None,
    "submitit_slurm": "hydra.launcher.array_parallelism",
}
"""Hydra's launchers, and the key that says how many jobs run at once, where one has such a key."""

_HERE = ("joblib", "submitit_local")  # several jobs share this machine's cores
_ROOT = CONFIGS.parent


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of runs, and those of Hydra's own settings.

    Example:
        >>> split_overrides(["seed=1", "hydra.launcher.timeout_min=60"])
        (['seed=1'], ['hydra.launcher.timeout_min=60'])
    """
    of_hydra = [text for text in overrides if text.startswith(("hydra.", "hydra/"))]
    return [text for text in overrides if text not in of_hydra], of_hydra


def launch(
    grid: Grid, choices: Sequence[Choice], launcher: str, at_once: int, folder: Path, of_hydra: Sequence[str]
) -> list[str]:
    """Train ``choices`` of ``grid`` and wait for them all; a job that fails leaves the others running.

    Hydra's own sweeper would launch finished jobs too, and after a failure say no more than the first one's.

    Args:
        grid: whose fixed overrides every job has.
        choices: what each job has beyond them.
        launcher: a key of :data:`LAUNCHERS`.
        at_once: how many jobs may run at the same time.
        folder: gets a folder for each job, with its log.
        of_hydra: overrides of the launcher's own settings.

    Returns:
        For each choice why it is not finished, or nothing.

    Raises:
        UsageError: the launcher is not installed, or has no such setting.
    """
    at_once = min(at_once, len(choices))  # joblib makes that many processes, used or not
    _share_cores(launcher, at_once)
    settings = _settings(grid, launcher, at_once, folder, of_hydra)
    # submitit's local executor starts all that it gets at once.
    size = at_once if launcher == "submitit_local" else len(choices)
    why: list[str] = []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        worker = _launcher(settings)
        for first in range(0, len(choices), size):
            jobs = [[*grid.fixed, *choice] for choice in choices[first : first + size]]
            why += [str(done.return_value) for done in worker.launch(jobs, initial_job_idx=first)]
    return why


def _share_cores(launcher: str, at_once: int) -> None:
    """Set what every job inherits; what is set already stays."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    if launcher in _HERE:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))


def _settings(grid: Grid, launcher: str, at_once: int, folder: Path, of_hydra: Sequence[str]) -> list[str]:
    """Overrides of Hydra's own config."""
    own = (CONFIGS / "launcher" / f"{launcher}.yaml").exists()
    key = LAUNCHERS[launcher]
    fixed = ",".join(f"'{text.partition('=')[0]}'" for text in grid.fixed)
    return [
        f"hydra/launcher={launcher}",
        *([f"launcher={launcher}"] if own else []),
        *([f"{key}={at_once}"] if key else []),
        f"hydra.sweep.dir='{folder}'",
        "hydra.sweep.subdir=${hydra:job.override_dirname}",
        f"hydra.job.config.override_dirname.exclude_keys=[{fixed}]",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        *of_hydra,
    ]


def _launcher(settings: Sequence[str]) -> Launcher:
    register()
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        config = hydra.compose_config("train", list(settings), RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
        return Plugins.instance().instantiate_launcher(context, run_job, config)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(f"the launcher cannot be used: {' '.join(str(error).split())}") from None
