"""Decides which batch a request of an image iterator gets, and tells Keras's `fit` from indexing by hand.

Keras 3 asks a `PyDataset` for batches by index, and `fit` shuffles the indices. But the stream's order is shuffled
already, and workers make batches in that order: asked for them out of order, they would begin anew for each. So during
a *pass* of Keras a request gets the next batch of the epoch, whatever its index: each pass is one epoch, every batch in
it once. Only Keras reads `num_batches`, right before each pass: that announces one. A pass that ends
early because fewer steps were asked for is followed by the next epoch; one that was only looked at (Keras takes two
batches for their shapes) or broken off by an exception is begun again, so that the first epoch trained on is epoch 0.
How far ahead Keras's threads have read when a pass ends early makes no difference.
"""

from dataclasses import dataclass
from enum import Enum, auto

from penstock.protocol.errors import ArgumentError


class _Pass(Enum):
    """The state of a pass of Keras."""

    NONE = auto()
    ANNOUNCED = auto()
    RUNNING = auto()


@dataclass(slots=True)
class Turns:
    """A position in an endless stream of epochs of `batches` batches each."""

    batches: int
    epoch: int = 0
    #: The epoch's next batch, for `next` and for a pass.
    index: int = 0
    _pass: _Pass = _Pass.NONE
    #: Whether this epoch was indexed by hand; whether Keras has ended it.
    _indexed: bool = False
    _over: bool = False

    def next(self) -> tuple[int, int]:
        """Return (epoch, batch) of the next batch; an epoch's last is followed by the next one's first."""
        self._pass, self._over = _Pass.NONE, False
        return self._take()

    def at(self, index: int) -> tuple[int, int]:
        """Return (epoch, batch) that a request for batch `index` gets. Raises ArgumentError if there is none."""
        place = index + self.batches if index < 0 else index
        if not 0 <= place < self.batches:
            raise ArgumentError(
                f"batch {index} was asked for, and an epoch has {self.batches}: 0 to {self.batches - 1}"
            )
        if self._pass is _Pass.ANNOUNCED:
            if self._over:
                self._advance()
            self._pass, self.index = _Pass.RUNNING, 0
        if self._pass is _Pass.RUNNING:
            return self._take()
        self._indexed = True
        return self.epoch, place

    def announce(self) -> None:
        """Handle that Keras is about to begin a pass."""
        self._pass = _Pass.ANNOUNCED

    def end_epoch(self) -> None:
        """Begin a new epoch after indexing by hand, or with Keras's next pass.

        Keras calls this in the middle of a pass, too, that a few steps at a time are taken of.
        """
        if self._pass is _Pass.NONE and self._indexed:
            self._advance()
        self._over = self._over or self._pass is _Pass.RUNNING

    def reset(self) -> None:
        """Begin a new epoch, unless one was just begun."""
        self._pass, self._over = _Pass.NONE, False
        if self.index:
            self._advance()

    def _take(self) -> tuple[int, int]:
        taken = self.epoch, self.index
        self.index += 1
        if self.index >= self.batches:
            self._advance()
        return taken

    def _advance(self) -> None:
        self.epoch += 1
        self.index, self._indexed, self._over = 0, False, False
        if self._pass is _Pass.RUNNING:
            self._pass = _Pass.NONE
