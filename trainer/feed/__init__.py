"""Iterating over batches and keeping the position, whatever supplies the batches."""
