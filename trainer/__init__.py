"""The trainer's side: the client that iterates batches, and its faces for tf.data and Keras."""
