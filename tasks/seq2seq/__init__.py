"""The attentional encoder–decoder and its search, shared by translation and summarization."""
