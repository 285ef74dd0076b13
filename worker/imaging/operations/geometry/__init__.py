"""Steps that move pixels about: crops, sizes, flips. `moves.py` holds the actions that they are made of."""
