"""Draws samples as a picture with captions: for previews, for the dashboard, and for HDF5 files."""
