"""A map-style dataset as users write them, without PyTorch: arrays that tell their index, and a damaged item."""

import random
from typing import Any

import numpy as np


class Squares:
    """`length` items: a float array and its number; item `bad` raises."""

    def __init__(self, length: int, bad: int = -1) -> None:
        """Keep both."""
        self.length, self.bad = length, bad

    def __len__(self) -> int:
        """Return the number of items."""
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, int, float]:
        """Return an array full of the index, its square, and a draw."""
        if index == self.bad:
            raise OSError("the disk has a hole here")
        return np.full((3, 2), index, np.float32), index * index, random.random()
