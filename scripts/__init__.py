"""Entry points: the only place that knows Hydra, argv, loggers and plots."""

import sys

from tasks.training.signals import exit_at_stop_signals

if sys.argv[:1] == ["-m"]:  # python -m scripts.…, whose imports take seconds
    exit_at_stop_signals()
