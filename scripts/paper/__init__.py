"""Tables, figures and the page: what the records of finished runs say, beside what the paper reports."""

from pathlib import Path

RESULTS = Path("results")
"""Where records lie, and all that is made of them."""
