"""Decodes JPEG 2000 files, in a process of their own: the library holds the interpreter while it works."""
