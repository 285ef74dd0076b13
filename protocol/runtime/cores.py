"""Tells on which cores this process may run, on every system."""

import os


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use: all of them where the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
