"""What `penstock check` works out before a run: memory, and what a cache of decoded images holds and gains."""
