"""What the commands that make, continue and ask runs are made of."""
