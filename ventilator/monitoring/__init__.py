"""Snapshots of the whole stack, metrics, and the verdict: what limits the speed."""
