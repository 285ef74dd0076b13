"""The order of items that do not come once each in an epoch."""
