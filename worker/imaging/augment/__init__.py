"""Random augmentation: drawing its parameters and applying them."""
