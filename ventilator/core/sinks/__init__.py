"""The sinks that are connected, what they need together, and what counts as failed for all of them."""
