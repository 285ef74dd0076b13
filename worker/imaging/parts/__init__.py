"""Samples of mixtures whose parts are read or transformed in different ways."""
