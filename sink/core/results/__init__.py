"""What comes of results: whether they are accepted, which failures count, and how samples lie together."""
