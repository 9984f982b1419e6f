"""What turns a task and a config into a run: fit, checkpoint, resume, records."""
