"""Translation: parallel corpora, BLEU and alignment."""
