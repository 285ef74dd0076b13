"""The drop-in for PyTorch's `DataLoader`: what it takes as a dataset, and which arguments of PyTorch's it knows."""
