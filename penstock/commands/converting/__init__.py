"""The parts of `penstock convert`: what becomes of an image, shards as files, and what a folder holds already."""
