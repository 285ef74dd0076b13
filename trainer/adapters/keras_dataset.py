"""A feed as Keras 3's `fit`, `evaluate` and `predict` take it on the PyTorch and JAX backends: a `PyDataset`.

Keras asks for batches by number. Their order is the stream's, so the number is ignored, and `shuffle` of `fit` too. An
epoch of Keras is an epoch of the stream: after a resume in mid-epoch, the rest of it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.trainer.adapters.batches import ResumableSource
from penstock.trainer.adapters.fields import choose_fields
from penstock.trainer.adapters.frameworks import TENSORFLOW, import_framework


def keras_dataset(feed: ResumableSource, fields: tuple[str, ...] | None = ("image", "label")) -> Any:
    """Return what Keras trains from: a `keras.utils.PyDataset`, or with the TensorFlow backend a `tf.data.Dataset`.

    Its elements are tuples of `fields`, such as (images, labels), or dicts of all fields for None. Raises PenstockError
    if Keras or its backend is missing, SpecError for unknown fields.
    """
    keras = import_framework("keras", "Keras", TENSORFLOW)
    if keras.backend.backend() == "tensorflow":
        from penstock.trainer.adapters.tf import dataset  # noqa: PLC0415 - imports TensorFlow

        return dataset(feed, fields)
    return type("FeedDataset", (_Batches, keras.utils.PyDataset), {"__doc__": _Batches.__doc__})(feed, fields)


class _Batches:
    """A feed's batches as a `keras.utils.PyDataset`; give it to one `fit` or `evaluate` at a time."""

    def __init__(self, feed: ResumableSource, fields: tuple[str, ...] | None) -> None:
        """Take the feed; nothing is fetched before Keras asks."""
        super().__init__()  # of PyDataset, with one worker: it asks on the thread that trains
        self.feed, self._wanted = feed, fields
        self._names = [field.name for field in choose_fields(feed, fields)]
        self._iterator: Iterator[dict[str, Any]] | None = None
        #: The feed's state where Keras began its epoch, and how many batches it had then and took since.
        self._began: dict[str, Any] = {}
        self._left = self._taken = 0
        #: Keras has begun an epoch and not asked for a batch yet.
        self._fresh = False

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch; while one begins, those that are left of it, which ends Keras's after them."""
        return self._left if self._fresh else self.feed.batches_per_epoch

    def __getitem__(self, index: int) -> Any:
        """Return the next batch, whatever its number; where items were quarantined, the next epoch's follow.

        The PyTorch backend makes tensors of the arrays' own memory, which a layer may change: it is never read-only.
        """
        del index
        self._fresh = False
        self._taken += 1
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self.feed)
            batch = next(self._iterator, None)
            if batch is not None:
                own = {name: np.require(batch[name], requirements="W") for name in self._names}
                return own if self._wanted is None else tuple(own.values())
            self._iterator = None
        raise SpecError(f"{self.feed!r}: no batch follows; is the epoch empty?")

    def on_epoch_begin(self) -> None:
        """Note where the feed is; called by Keras."""
        self._began, self._left, self._taken, self._fresh = self.feed.state_dict(), self._batches_left(), 0, True

    def on_epoch_end(self) -> None:
        """Give a batch back that Keras took to learn shapes from: it did not train on it. Called by Keras."""
        looked = self._taken == 1 and self._left > 1
        self._taken, self._fresh = 0, False
        if looked:
            self._iterator = None
            self.feed.load_state_dict(self._began)

    def _batches_left(self) -> int:
        """Return how many batches are left of the epoch for this rank, if nothing more is quarantined."""
        feed, whole = self.feed, self.feed.batches_per_epoch
        position = int(feed.state_dict()["position"])
        done = position - feed.epoch_of(position) * feed.samples_per_epoch
        ranks = max(1, round(feed.samples_per_epoch / (feed.batch_size * whole)))
        return max(0, whole - -(-done // (feed.batch_size * ranks))) or whole
