"""What became of items: which failures count, which outcomes are known for good, and who gets which samples."""
