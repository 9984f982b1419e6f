"""Data, models and metrics of the tasks, and the training that they share."""
