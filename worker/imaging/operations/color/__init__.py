"""Steps that change colours and leave the geometry alone. `blending.py` computes what several of them need."""
