"""The sink's decisions: which samples have arrived, which batches are due, and what may be sent. No I/O."""
