"""Words, vocabularies, vectors, batches and the one reader of corpora."""
