"""Reads one item of a source: a file, a row of an array or of an HDF5 file, or a URL."""
