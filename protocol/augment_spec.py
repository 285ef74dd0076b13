"""The spec's random changes of a sample. Owns their fields; refuses to know how they are done."""

from penstock.protocol.model import Model


class Augment(Model):
    """Random changes, drawn per sample."""

    horizontal_flip: bool = False
    """Mirror left and right with probability one half."""
