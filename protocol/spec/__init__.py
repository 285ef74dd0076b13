"""The spec of a stream as validated models: sources, transforms, and what is derived from them."""
