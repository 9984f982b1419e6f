"""What every test shares: how much it measures, one thread, no network."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile

import absl.logging
import pytest
import torch
from hypothesis import settings

import regattn
from tasks.data import cache
from tests import exhaustive

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
# ROUGE's tokenizer brings absl, whose handler closes the stream that was stderr when it was imported: that of
# pytest, as soon as Hydra sets up logging inside a test that captures for itself. The real one is left open.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
# How long an example takes depends on who else is at work.
settings.register_profile("at leisure", deadline=None)
settings.load_profile("at leisure")
# What is imported and collected stays: looking for garbage in it takes a third of that time.
gc.disable()


def pytest_addoption(parser: pytest.Parser) -> None:
    exhaustive.add_option(parser)


class DoctestNames:
    """Docstrings call the public names without importing them. A plugin, because it serves regattn/ too."""

    @pytest.fixture(autouse=True)
    def names(self, doctest_namespace: dict[str, object]) -> None:
        doctest_namespace.update(torch=torch, **{name: getattr(regattn, name) for name in regattn.__all__})


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(DoctestNames())
    config.pluginmanager.register(exhaustive.Exhaustive(config))
    if not hasattr(config, "workerinput"):  # workers share the one that they inherit
        os.environ[cache.VARIABLE] = tempfile.mkdtemp()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()  # else some libraries report what is left at the end as leaks
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[cache.VARIABLE], ignore_errors=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, in any order and on any worker."""
    torch.manual_seed(0)
