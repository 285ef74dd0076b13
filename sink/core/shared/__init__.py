"""What one of several sinks does differently: it holds the samples of its own readers only."""
