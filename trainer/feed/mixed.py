"""`MixedFeed`: a feed whose batches say how their samples are to be mixed, by mixup or CutMix.

It adds the field `mix` to each batch and leaves the others as they are. `trainer/adapters/mixing.py` defines the
numbers in that field, and does the mixing.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.order import sample_generator
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.wire import Array
from penstock.trainer.adapters.mixing import MIX, UNIFORMS, Mix, mix_images, mix_labels
from penstock.trainer.feed.batch_feed import BatchFeed
from penstock.trainer.feed.framework_loaders import FrameworkLoaders
from penstock.trainer.feed.stats import FeedStats

#: Purposes of generators that are no step's and none of `protocol.order` have this bit and not the highest.
_OWN = 1 << 62


class MixedFeed(FrameworkLoaders):
    """A feed for training with mixup, CutMix or both, one-hot targets and label smoothing.

    Its batches are those of `feed`, and one more field: `mix`, float32 (n, 6), which says how each sample is mixed with
    the one before it in the batch (the first with the last). Calling the feed with images, labels and that field does
    it: `images, targets = mixed(images, labels, mix)`, on numpy arrays or on tensors, in a training step, in
    `Dataset.map` or in a compiled function. Normalise images before.

    What is drawn depends on the seed, the stream's name, the epoch, the position and the rank of the batch, and on
    nothing else: a resumed run continues with the same mixtures, in every framework.

    Examples:
        >>> mixed = penstock.MixedFeed(feed, mixup=0.2, cutmix=1.0, label_smoothing=0.1)  # doctest: +SKIP
        >>> for batch in mixed.torch("cuda"):
        ...     images, targets = mixed(batch["image"] / 255, batch["label"], batch["mix"])
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        feed: BatchFeed[Any],
        *,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        switch: float = 0.5,
        p: float = 1.0,
        label_smoothing: float = 0.0,
        classes: int | None = None,
        image: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Take a feed, and how to mix; nothing is asked of the feed yet.

        `mixup` and `cutmix` are the alphas of both, 0 for none: a sample's share is drawn from Beta(alpha, alpha).
        Where both are on, a batch is cut with probability `switch`. A batch is mixed with probability `p`.
        `label_smoothing` is the part of each target that is spread over all classes. `classes` is the number of
        classes (default: the stream's), `image` the field whose size boxes are drawn for (default: the first image),
        `seed` the seed of the draws (default: the spec's; 0 for a file). Raises SpecError for numbers out of range.
        """
        self.feed, self.settings = feed, Mix(mixup, cutmix, switch, p, label_smoothing)
        if classes is not None and classes < 1:
            raise SpecError(f"classes = {classes}: give 1 or more")
        if seed is not None and not 0 <= seed < 1 << 63:
            raise SpecError(f"seed = {seed}: give 0 to 2^63 - 1")
        self._classes, self._image, self._seed = classes, image, seed

    def __repr__(self) -> str:
        """Show the settings and the feed."""
        return f"<MixedFeed of {self.feed!r}: {self.settings}>"

    def __call__(self, images: Any, labels: Any, mix: Any) -> tuple[Any, Any]:
        """Return the mixed images and the targets, float32 (n, classes), of a batch: see `images` and `targets`."""
        return self.images(images, mix), self.targets(labels, mix)

    def images(self, images: Any, mix: Any) -> Any:
        """Return the mixed images of a batch.

        Their type stays if it is a floating-point type; whole numbers become float32. Raises SpecError if they are no
        batch of the stream's height and width.
        """
        return mix_images(images, mix, self._size, self._field.axes)

    def targets(self, labels: Any, mix: Any) -> Any:
        """Return the targets, float32 (n, classes): one-hot, smoothed, mixed. `labels` are class indices or targets."""
        return mix_labels(labels, mix, self.classes, self.settings.label_smoothing)

    @cached_property
    def classes(self) -> int:
        """How many classes targets have. Raises SpecError if the stream does not say and `classes` was not given."""
        known = len(self.feed.classes)
        if self._classes is not None and self._classes < known:
            raise SpecError(f"classes = {self._classes}, but stream {self.stream!r} has {known}: give as many or more")
        if not (self._classes or known):
            raise SpecError(f"stream {self.stream!r} has no names of classes: give classes = their number")
        return self._classes or known

    @cached_property
    def _field(self) -> FieldSchema:
        images = {field.name: field for field in self.feed.schema if field.axes}
        name = self._image or next(iter(images), None)
        if name not in images:
            raise SpecError(
                f"image = {name!r}: stream {self.stream!r} has {', '.join(map(repr, images)) or 'no'} image to mix"
            )
        return images[name]

    @cached_property
    def _size(self) -> tuple[int, int]:
        first = self._field.axes.index("h")
        return self._field.shape[first], self._field.shape[first + 1]

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.feed.stream

    @property
    def schema(self) -> tuple[FieldSchema, ...]:
        """The fields of a sample: those of the feed, and `mix`. Raises SpecError if the feed has a field `mix`."""
        if any(field.name == MIX.name for field in self.feed.schema):
            raise SpecError(f"stream {self.stream!r} has a field {MIX.name!r} of its own: rename it to mix batches")
        return (*self.feed.schema, MIX)

    @property
    def batch_size(self) -> int:
        """Samples in a batch; an epoch's last batch may hold fewer, unless `drop_remainder` is set."""
        return self.feed.batch_size

    @property
    def drop_remainder(self) -> bool:
        """Whether every batch holds exactly `batch_size` samples."""
        return self.feed.drop_remainder

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch for this rank, if nothing is quarantined."""
        return self.feed.batches_per_epoch

    @property
    def samples_per_epoch(self) -> int:
        """Samples of a whole epoch, over all ranks, if nothing is quarantined."""
        return self.feed.samples_per_epoch

    @property
    def stats(self) -> FeedStats:
        """The feed's measurements."""
        return self.feed.stats

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the batches up to the end of the epoch; after a break, iterating again goes on with the next batch."""
        return self._with_mix(iter(self.feed))

    def next_epoch(self, *, timed: bool = True) -> Iterator[dict[str, Array]]:
        """Yield the batches of one epoch; one that was broken off is left behind, and the epoch after it begins."""
        return self._with_mix(self.feed.next_epoch(timed=timed))

    def state_dict(self, *, batches: int | None = None) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on after the batch that was yielded last."""
        return self.feed.state_dict(batches=batches)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, with the same mixtures if the settings are the same. Raises SpecError."""
        self.feed.load_state_dict(state)

    def track(self) -> deque[int]:
        """Return a queue that gets the position after each batch handed out from now on."""
        return self.feed.track()

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position belongs to."""
        return self.feed.epoch_of(position)

    def upcoming_epoch(self) -> int:
        """Return the epoch of the next batch."""
        return self.feed.upcoming_epoch()

    def begin_epoch(self, epoch: int) -> None:
        """Go on with the first batch of an epoch, unless the next batch is in that epoch already."""
        self.feed.begin_epoch(epoch)

    def _with_mix(self, batches: Iterator[dict[str, Array]]) -> Iterator[dict[str, Array]]:
        first = self.schema[0].name
        for batch in batches:
            numbers = self.numbers(self.feed.position, self.feed.rank)
            yield batch | {MIX.name: np.tile(numbers, (len(batch[first]), 1))}

    def numbers(self, stop: int, rank: int) -> Array:
        """Return the six numbers of a rank's batch by the position after it, float32 (6,)."""
        key = hashlib.blake2b(f"mix {self.stream}".encode(), digest_size=7).digest()
        purpose = int.from_bytes(key, "big") | _OWN
        generator = sample_generator(self._used_seed, self.feed.epoch_of(stop - 1), stop, rank, purpose)
        return self.settings.draw(generator.random(UNIFORMS), *self._size)

    @cached_property
    def _used_seed(self) -> int:
        if self._seed is not None:
            return self._seed
        plan = self.feed.plan
        return plan.seed if isinstance(plan, StreamPlan) else 0
