"""The connection between a training program and the sink."""
