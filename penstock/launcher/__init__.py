"""Starts and supervises a whole stack on this machine; `penstock.local` is its public name."""
