"""Which items of a source a stream takes, and how often each comes: the spec's fields for both."""
