"""The sink: owns "delivered". Drops duplicates, restores order, batches, forwards under credit."""
