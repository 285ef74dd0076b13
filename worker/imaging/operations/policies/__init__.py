"""Steps that choose among others. `augmentations.py` has the changes that the AutoAugment family chooses from."""
