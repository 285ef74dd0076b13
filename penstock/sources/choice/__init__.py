"""Which items of a listing a stream takes, and in which groups they share an epoch."""
