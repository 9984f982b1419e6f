"""Sentence summarization: corpora of headlines, ROUGE."""
