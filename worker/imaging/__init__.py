"""Turns an image file into samples: reading, decoding, cutting, changing. A library without sockets."""
