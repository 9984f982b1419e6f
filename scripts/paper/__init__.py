"""Tables, figures and the page: what the records of finished runs say, beside what the paper reports."""
