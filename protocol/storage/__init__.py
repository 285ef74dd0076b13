"""Reading arrays, tables and HDF5 files from local paths and URLs, confined to the roots that the user named."""
