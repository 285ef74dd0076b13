"""Targets that move with the image: loads them from a manifest's cells and files, and moves them by a program."""
