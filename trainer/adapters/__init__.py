"""Adapters that turn batches into what TensorFlow and Keras consume."""
