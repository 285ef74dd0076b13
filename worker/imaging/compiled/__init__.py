"""Loops over pixels that are compiled where there is a C compiler; elsewhere NumPy, OpenCV and Pillow do the same."""
