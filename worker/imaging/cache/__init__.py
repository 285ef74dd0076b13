"""Keeps decoded images on a worker's host: what comes before the first random change."""
