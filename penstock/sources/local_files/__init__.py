"""Reads parts of files of this host."""
