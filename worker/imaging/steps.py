"""Applies a transform's steps to the samples of a task.

The operations themselves are in `operations/`. Each step has random numbers of its own: a step that is added, removed
or moved changes the numbers of no other.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.philox import uniforms
from penstock.protocol.spec.operation import Float64s, Pixels, Step

#: Purposes of steps lie above this, those of `protocol.order` below.
_OWN = 1 << 63


def purpose_of(key: str) -> int:
    """Return the number that, as the generators' `purpose`, gives a step random numbers of its own."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") | _OWN


class Steps:
    """The steps of one stream; for use by one thread at a time."""

    def __init__(self, steps: Sequence[Step], keys: Sequence[str], seed: int) -> None:
        """Take a transform's `steps` and `step_keys`, and the spec's seed."""
        self._steps, self._seed = tuple(steps), seed
        self._purposes = [purpose_of(key) for key in keys]
        self._draws: list[Float64s] = []

    def begin(self, epoch: int, items: Int64s, patches: int) -> None:
        """Draw for every sample of a task: first the number that decides on the step, then those of its own."""
        samples = len(items) * patches
        self._draws = [
            uniforms(self._seed, epoch, items, patches, 1 + step.uniforms, purpose).reshape(samples, -1)
            for step, purpose in zip(self._steps, self._purposes, strict=True)
        ]

    def apply(self, samples: Int64s, out: Pixels) -> None:
        """Change `out` in place: its row k is sample number `samples[k]` of the task."""
        for step, draws in zip(self._steps, self._draws, strict=True):
            for row in np.flatnonzero(draws[samples, 0] < step.p).tolist():
                changed = step.apply(out[row], draws[samples[row], 1:])
                if changed.shape != out.shape[1:] or changed.dtype != out.dtype:
                    raise TypeError(
                        f"step {step.name!r} made {changed.dtype}{changed.shape} of a sample of "
                        f"{out.dtype}{out.shape[1:]}: it must keep both"
                    )
                if not np.may_share_memory(changed, out[row]):
                    out[row] = changed
