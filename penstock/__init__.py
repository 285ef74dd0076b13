"""Penstock feeds training loops with images. Public face; everything heavy is imported on first use."""

from penstock._version import __version__

__all__ = ["__version__"]
