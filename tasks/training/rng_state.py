"""The random state of torch, numpy and Python as one value."""

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def get_rng_state() -> dict[str, Any]:
    """Return the state of every generator, as tensors and plain values only."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        # As ints, because numpy's own array cannot be read back without pickle.
        "numpy": (str(kind), [int(key) for key in keys], *rest),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every generator into the ``state`` that :func:`get_rng_state` returned."""
    torch.set_rng_state(state["torch"])
    # A run may be resumed on another device; the CPU state is then all there is to restore.
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
