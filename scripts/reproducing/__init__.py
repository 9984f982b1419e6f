"""What `make reproduce` is made of: the cells of the paper's tables, a plan, and what carries it out."""
