"""Ours beside the paper: its numbers, the cells that stand for them, statistics, claims and verdicts."""
