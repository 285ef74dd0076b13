"""`penstock demo`: trains a small Keras model on generated images or on the user's own."""
