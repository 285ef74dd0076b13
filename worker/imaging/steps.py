"""Draws the random numbers of a transform's steps, and makes of them each sample's program.

The operations themselves are in `operations/`. Each step has random numbers of its own: a step that is added, removed
or moved changes the numbers of no other. A step inside of another, such as those of `one_of`, has its own, too.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain, islice
from math import lcm

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.philox import uniforms_of
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.sequences.view import ImageSteps
from penstock.protocol.spec.step import Float64s, Step
from penstock.worker.imaging.program import Program, Programmer

#: Purposes of steps lie above this, those of `protocol.order` below.
_OWN = 1 << 63


def purpose_of(key: str) -> int:
    """Return the number that, as the generators' `purpose`, gives a step random numbers of its own."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") | _OWN


class Steps:
    """The steps of one stream; for use by one thread at a time."""

    def __init__(
        self, steps: Sequence[Step], keys: Sequence[str], seed: int, max_pixels: int, scopes: Sequence[str] = ()
    ) -> None:
        """Take an image's steps and their keys, the spec's seed and the most pixels that a step may make.

        `scopes` say what goes before the names of each step's generators: by default, nothing.
        """
        self._seed, self._max_pixels = seed, max_pixels
        #: The steps of each patch; after these, they repeat.
        self._of_patch = [
            tuple(step.of_patch(patch) for step in steps) for patch in range(lcm(*(step.views for step in steps)))
        ]
        self._patches = 1
        #: For each step: whose numbers, in a row, are the number that decides on the step, and those of its own.
        self._generators = [
            [(purpose_of(scope + name), count) for name, count in step.generators(key)]
            for step, key, scope in zip(steps, keys, scopes or ("",) * len(keys), strict=True)
        ]
        self._draws: list[Float64s] = []
        self._chances: list[list[float]] = []

    @classmethod
    def of(cls, image: ImageSteps, seed: int, max_pixels: int, skipped: int = 0) -> "Steps":
        """Return the steps of one image of a sample, without so many of the first ones."""
        return cls(image.steps[skipped:], image.keys[skipped:], seed, max_pixels, image.scopes[skipped:])

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._of_patch[0])

    def begin(self, epoch: int, items: Int64s, patches: int) -> None:
        """Draw for every sample of a task."""
        drawn = iter(uniforms_of(self._seed, epoch, items, patches, list(chain.from_iterable(self._generators))))
        self._patches, samples = patches, len(items) * patches
        self._draws = []
        for generators in self._generators:
            parts = [numbers.reshape(samples, numbers.shape[2]) for numbers in islice(drawn, len(generators))]
            self._draws.append(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))
        self._chances = [numbers[:, 0].tolist() for numbers in self._draws]

    def program(self, sample: int, image: Size) -> Program:
        """Return what becomes of an image of this size as sample number `sample` of the task. Raises ItemError."""
        programmer = Programmer(image, self._max_pixels)
        steps = self._of_patch[sample % self._patches % len(self._of_patch)]
        for step, chances, draws in zip(steps, self._chances, self._draws, strict=True):
            if chances[sample] < step.p:
                programmer.add(step.actions(programmer.size, draws[sample, 1:]))
        return programmer.program()
