"""What sparse and structured attention costs, against torch.softmax and other packages: `make bench`."""
