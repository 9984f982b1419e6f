"""Lets the tests of this folder, and the processes they start, import tiny_run, and makes its whole run."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_run import outcome, train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bits are promised for a fixed number of threads; one also keeps tiny models fast."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of a run that nothing interrupted."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("whole")
    return outcome(path, *train(path))
