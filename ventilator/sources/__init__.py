"""Listing the items of a source: directories, manifests, arrays, HDF5 files and remote storage."""
