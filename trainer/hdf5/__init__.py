"""A feed that reads batches from HDF5 files instead of from a running stack."""
