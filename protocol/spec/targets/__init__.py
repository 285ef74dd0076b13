"""Targets in the spec: what moves with the image."""
