"""Entry points: the only place that knows Hydra, argv, loggers and plots."""
