"""What every test shares: how many random rows, one thread, no network."""

from __future__ import annotations

import os

import pytest
import torch

import regattn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="1 M random rows per mapping instead of 100 k")


class DoctestNames:
    """Docstrings call the public names without importing them. A plugin, because it serves regattn/ too."""

    @pytest.fixture(autouse=True)
    def names(self, doctest_namespace: dict[str, object]) -> None:
        doctest_namespace.update(torch=torch, **{name: getattr(regattn, name) for name in regattn.__all__})


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(DoctestNames())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        skip = pytest.mark.skip(reason="runs with --full")
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full count of random rows is asked for."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def rows(full: bool) -> int:
    """Random rows per mapping."""
    return 1_000_000 if full else 100_000


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, in any order and on any worker."""
    torch.manual_seed(0)
