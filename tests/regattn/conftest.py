"""What several tests of the library start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

collect_ignore = [
    "emulation.py",
    "gpu_costs.py",
]  # they import triton for a GPU, test_cuda_kernels.py otherwise


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; afterwards it is one again."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


@pytest.fixture
def fresh_compiler() -> None:
    """Start without what others have compiled, which is limited in number."""
    torch.compiler.reset()
