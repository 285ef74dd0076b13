"""A replacement for the retired `keras.preprocessing.image.ImageDataGenerator`, with the same arguments."""
