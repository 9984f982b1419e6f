"""Entry points: the only place that knows Hydra, argv, loggers and plots."""

import gc
import os
import sys

from tasks.training.signals import exit_at_stop_signals


def end_imports() -> None:
    """Collect garbage from here on, where that has waited for a command's imports, and not among them."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


if sys.argv[:1] == ["-m"]:  # python -m scripts.…, whose imports take seconds
    # Before torch is loaded: OpenMP's threads then sleep while they wait for each other. Awake, they take
    # from each other the processors that they wait for, once these are shared with other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    exit_at_stop_signals()
    gc.disable()  # what imports make stays: looking for garbage in it takes a fifth of their time
