"""The report: one page that holds what was reproduced, on which data, how surely, and what is missing."""
