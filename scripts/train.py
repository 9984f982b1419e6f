"""Train a model, test it, and leave its record: `make train TASK=snli ATTN=fusedmax`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import CONFIGS, check_choices, finish_config, folder_overrides, register_schemas
from scripts.runs.setup import FOLDERS, open_run, set_up
from scripts.runs.training import make_command, portable, prepare, train


def start(overrides: Sequence[str]) -> None:
    """Train what the overrides say."""
    train(prepare(overrides))


def resume(run_name: str, overrides: Sequence[str] = ()) -> None:
    """Continue a run in its own directory, wherever that lies now; overrides say where else it writes."""
    run, config = open_run(run_name, overrides)
    setup = set_up(config)
    if setup.id != run.path.name:
        # Else another run would begin, beside this one and unasked.
        raise UsageError(
            f"{run.path} must have the config and corpus that it began with, got those of {setup.id}"
        )
    train(setup)


def main(arguments: Sequence[str]) -> None:
    """Start what the overrides say, or continue a run: ``resume <run> [results_dir=… data.cache=…]``.

    Overrides alone are checked by this project; Hydra's own flags (--multirun, --cfg, …) go to Hydra.
    Where several processes share the batches, :mod:`scripts.several` starts this in each of them.
    """
    if arguments[:1] == ["resume"]:
        words = [word for word in arguments[1:] if word.partition("=")[0] not in FOLDERS]
        cli.main(lambda: resume(" ".join(words), [word for word in arguments[1:] if word not in words]))
    elif not any(argument.startswith("-") for argument in arguments):
        cli.main(lambda: start(folder_overrides(arguments)))
    else:
        cli.main(_start_hydra)


def _start_hydra() -> None:
    sys.argv[1:] = folder_overrides(sys.argv[1:])
    register_schemas()
    hydra.main(str(CONFIGS), "train", version_base="1.3")(_start_job)()


def _start_job(config: DictConfig) -> None:
    """One job of Hydra's, wherever Hydra has gone for it."""
    overrides = HydraConfig.get().overrides.task
    os.chdir(HydraConfig.get().runtime.cwd)
    check_choices(overrides)
    finish_config(config)
    config.command = make_command(portable(overrides))
    train(set_up(config))


if __name__ == "__main__":
    main(sys.argv[1:])
