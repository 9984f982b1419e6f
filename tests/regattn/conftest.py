"""What several tests of the library start from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
import torch

# They import triton for a GPU, which test_cuda_kernels.py must import first, for its interpreter.
collect_ignore = ["emulation.py", "gpu_costs.py"]
if sys.platform == "win32":  # they use modules of the suite, which needs POSIX
    collect_ignore += ["test_registry.py", "test_screening.py"]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; afterwards it is one again."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


@pytest.fixture
def fresh_compiler() -> None:
    """Start without what others have compiled, which is limited in number."""
    torch.compiler.reset()
