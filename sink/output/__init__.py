"""Writing a stream to HDF5 files that survive a crash at any moment."""
