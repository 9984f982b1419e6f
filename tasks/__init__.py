"""Data, models and metrics of the tasks, and the training that they share."""

from tasks import entailment, summarization, translation  # in the paper's order; each registers its task

__all__ = ["entailment", "summarization", "translation"]
