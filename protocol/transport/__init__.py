"""Sockets, addresses, keys and shared memory: how messages and samples reach another process."""
